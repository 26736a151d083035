"""The reason for a relay is told in words, and never claims more than is known."""

import pytest

from derphole.rendezvous.receipt_paths import NOT_IN_TIME, reason_of
from tunnel.proto.link.path_facts import SideEvidence
from tunnel.proto.paths.stun_evidence import SeenMapping

UNKNOWN = SideEvidence()
EASY = SideEvidence(SeenMapping.SHARED)
HARD = SideEvidence(SeenMapping.BY_DESTINATION)
SILENT = SideEvidence(is_unanswered=True, is_blocked=True)
UNANSWERED = SideEvidence(is_unanswered=True)


@pytest.mark.parametrize(
    ("here", "there", "reason"),
    [
        (HARD, HARD, "both NATs are symmetric according to the STUN answers"),
        (HARD, EASY, f"{NOT_IN_TIME}; the NAT of this side is symmetric according to STUN"),
        (UNKNOWN, HARD, f"{NOT_IN_TIME}; the NAT of the other side is symmetric according to STUN"),
        (SILENT, HARD, "UDP seems to be blocked on this side: no STUN server answered"),
        (EASY, SILENT, "UDP seems to be blocked on the other side: no STUN server answered"),
        (SILENT, SILENT, "UDP seems to be blocked on both sides: no STUN server answered"),
        (UNANSWERED, EASY, f"{NOT_IN_TIME}; the relay's STUN server did not answer"),
        (UNANSWERED, UNKNOWN, f"{NOT_IN_TIME}; the relay's STUN server did not answer"),
        (EASY, EASY, NOT_IN_TIME),
        (UNKNOWN, UNKNOWN, NOT_IN_TIME),
    ],
)  # fmt: skip
def test_what_is_known_of_both_sides_makes_the_reason(here, there, reason):
    assert reason_of(here, there) == reason
