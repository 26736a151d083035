"""TCP segments over 1300 bytes vanish towards the relay, as behind a tunnel that tells nobody."""

import pytest
from wires import Way

from tunnel.proto.relay_client.outgoing import STUCK_S

LARGE_TCP = "meta l4proto tcp meta length > 1300"
PAYLOAD = bytes(range(256)) * 4096
LIMIT_S = 40.0  # a link that is not heard is given up after 60


@pytest.mark.parametrize("way", Way)
def test_the_relay_carries_all_bytes_in_smaller_segments(lab, stage, way):
    lab.wire("a").block(LARGE_TCP, way)
    sender, receiver = ("a", "b") if way is Way.UP else ("b", "a")

    transfer = stage.transfer(PAYLOAD, sender=sender, receiver=receiver, options=("--force-relay",))
    outcome = transfer.finish(LIMIT_S)

    assert outcome.is_exact, f"{transfer.pipe.story}\n{transfer.listen.story}"
    assert outcome.path == "relay"


def test_a_direct_path_is_found_before_the_relay_is_given_up(lab, stage):
    lab.wire("a").block(LARGE_TCP, Way.UP)

    outcome = stage.transfer_when_direct(PAYLOAD, LIMIT_S)

    assert outcome.is_exact, outcome.reason
    assert outcome.direct_after_s is not None
    assert outcome.direct_after_s < STUCK_S
