"""Security checks, each with the change that would undo it and the tests that must notice.

source, exactly as it stands --> source without the check --> the named tests fail
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Mutation:
    """One check undone.

    Args:
        name: the check.
        path: the module, from the root of the repository.
        text: source that occurs there exactly once.
        replacement: what takes its place.
        tests: arguments of pytest; as few and as fast as will do.
    """

    name: str
    path: str
    text: str
    replacement: str
    tests: tuple[str, ...]


MUTATIONS = (
    Mutation(
        "the MAC of a claim is compared",
        "tunnel/proto/meeting/handshake.py",
        "if not compare_digest(_mac(secret, claim, meeting), claim.mac):",
        "if not _mac(secret, claim, meeting):",
        ("tests/sim/test_meeting.py", "-k", "flipped_bit"),
    ),
    Mutation(
        "a packet is opened once",
        "tunnel/crypto/packets.py",
        "if number >= wire.MAX_NUMBER or (window is not None and not window.is_fresh(number)):",
        "if number >= wire.MAX_NUMBER:",
        ("tests/unit/crypto/test_sealed_packets.py",),
    ),
    Mutation(
        "a burst of packets is opened once",
        "tunnel/crypto/packets.py",
        "if window is not None and not window.is_fresh_run(first, count):",
        "if False:",
        ("tests/unit/crypto/test_sealed_packets.py",),
    ),
    Mutation(
        "no packet beyond the last number is opened",
        "tunnel/crypto/packets.py",
        "if number >= wire.MAX_NUMBER or (window is not None and not window.is_fresh(number)):",
        "if window is not None and not window.is_fresh(number):",
        ("tests/unit/crypto/test_sealed_packets.py", "-k", "last_number"),
    ),
    Mutation(
        "path 0 is the relay's and the relay has no other",
        "tunnel/proto/link/peer_link.py",
        "if isinstance(origin, UdpEndpoint) == (path == layout.RELAY_PATH):",
        "if False:",
        ("tests/unit/proto/test_misdirected_packets.py",),
    ),
    Mutation(
        "nothing of streams is stored for a claimer without a place",
        "tunnel/proto/link/peer_link.py",
        "if not (self._is_admitted or isinstance(frame, EARLY_FRAMES)):",
        "if False:",
        ("tests/sim/test_hostile_holders.py", "-k", "before_it_has_the_place_nothing"),
    ),
    Mutation(
        "a closed link is forgotten in time whatever arrives",
        "tunnel/proto/meeting/places.py",
        "if applicant.forget_at is not None and now >= applicant.forget_at:",
        "if False:",
        ("tests/sim/test_hostile_holders.py", "-k", "thirty_seconds"),
    ),
    Mutation(
        "what is never acknowledged is bounded for all streams together",
        "tunnel/proto/budget.py",
        "return (SHARE * left - self.held) // (SHARE + 1)",
        "return self._budget.size - self.held",
        ("tests/unit/proto/test_shared_memory.py",),
    ),
    Mutation(
        "an expired grant is refused",
        "derphole/token/admission.py",
        "return ACCEPTED if wall < claim.grant.expires_at else Refusal.EXPIRED",
        "return ACCEPTED",
        ("tests/unit/derphole/test_admission.py",),
    ),
    Mutation(
        "one that left does not come back",
        "derphole/token/admission.py",
        "return ACCEPTED if may_come_back else Refusal.NOT_AWAITED",
        "return ACCEPTED",
        ("tests/unit/derphole/test_admission.py",),
    ),
    Mutation(
        "who only names a process replaces nobody",
        "tunnel/proto/meeting/places.py",
        "if not applicant.is_proven:",
        "if False:",
        ("tests/sim/test_places.py",),
    ),
    Mutation(
        "a grant's secret is good for its capability alone",
        "derphole/token/grant.py",
        "bytes([grant.capability]),",
        "bytes([0]),",
        ("tests/unit/derphole/test_grant.py",),
    ),
    Mutation(
        "nobody sends more than the credit",
        "tunnel/proto/streams/receive_stream.py",
        "if stop > self.limit:",
        "if False:",
        ("tests/unit/proto/test_receive_stream.py",),
    ),
    Mutation(
        "nobody acknowledges what was never sent",
        "tunnel/proto/recovery/loss.py",
        "if largest >= self._next_number:",
        "if False:",
        ("tests/unit/proto/test_rtt_and_loss.py",),
    ),
    Mutation(
        "claims are limited",
        "tunnel/proto/meeting/issuer.py",
        "return of_grant and self._claims.try_take(now)",
        "return True",
        ("tests/sim/test_meeting.py", "-k", "answers_a_second"),
    ),
    Mutation(
        "a link's packets come from its claimer's key",
        "tunnel/proto/meeting/issuer.py",
        "if applicant is None or applicant.claimer != source:",
        "if applicant is None:",
        ("tests/sim/test_hostile_paths.py", "-k", "another_derp_key"),
    ),
    Mutation(
        "a claimer listens to the issuer's key alone",
        "tunnel/proto/meeting/claimer.py",
        "if source != self._identity.meeting.issuer_derp:",
        "if False:",
        ("tests/sim/test_hostile_paths.py", "-k", "another_derp_key"),
    ),
    Mutation(
        "pipe compares the digest of CONFIRM",
        "derphole/pipe.py",
        "if message.digest != self._tally.digest:",
        "if False:",
        ("tests/net/test_peers_that_lie.py", "-k", "pipe_never"),
    ),
    Mutation(
        "listen compares the size of FIN",
        "derphole/pipe.py",
        "if fin.size != self._tally.size:",
        "if False:",
        ("tests/net/test_peers_that_lie.py", "-k", "listen_never"),
    ),
    Mutation(
        "listen compares the digest of FIN",
        "derphole/pipe.py",
        "if fin.digest != self._tally.digest:",
        "if False:",
        ("tests/net/test_peers_that_lie.py", "-k", "listen_never"),
    ),
)
