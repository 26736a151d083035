"""A transfer on a relay of the public map says so once, why, and what would make it direct."""

from types import SimpleNamespace

import pytest

from derphole.delivery.notices import tell_relayed

pytestmark = pytest.mark.net

REASON = "both NATs are symmetric according to the STUN answers"


@pytest.mark.parametrize(
    ("is_public", "reason", "count"), [(True, REASON, 1), (True, None, 0), (False, REASON, 0)]
)
def test_only_who_stays_on_somebody_else_s_relay_is_told(is_public, reason, count):
    told = []
    rendezvous = SimpleNamespace(
        uses_public_relays=is_public, reason_relayed=lambda _: reason, report=told.append
    )

    tell_relayed(rendezvous, None, after_s=0.01)

    assert len(told) == count
    for notice in told:
        assert REASON in notice.text
        assert "derphole netcheck" in notice.text
