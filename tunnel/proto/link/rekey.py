"""Re-keying inside a link: new traffic keys from a new Diffie-Hellman exchange, without a claim.

    issuer                                     claimer
    due: REKEY(epk)                    -->     computes the next root, opens both phases
    computes it, seals in the new phase <--    REKEY_ANSWER(epk)
    packet of the new phase            -->     seals in the new phase from now on
    opens both until 3 s after                 opens both until 3 s after
    the peer's first new-phase packet          the peer's first new-phase packet

No other re-key starts before both have dropped the old phase.  root n+1 = KDF(root n, DH, both
epk).  Source: design, section 6; docs/protocol.md, "Keys of a link".
"""

from collections.abc import Callable
from enum import Enum

from tunnel.crypto.aead import AeadId
from tunnel.crypto.kdf import derive
from tunnel.crypto.keys import KeyPair, Secret
from tunnel.crypto.link_keys import traffic_key
from tunnel.crypto.packets import PacketOpener, PacketSealer
from tunnel.errors import AuthenticationFailed, ProtocolViolation
from tunnel.units import KEY_SIZE, ByteCount, Instant, Seconds
from tunnel.wire.frames import Rekey, RekeyAnswer

# Fixed by the protocol: a side keeps the old receive key that long after the first new packet.
OVERLAP_S: Seconds = 3.0
# Chosen (design, section 6).
REKEY_AFTER_S: Seconds = 3600.0
REKEY_AFTER_BYTES: ByteCount = 1 << 40


class RekeyState(Enum):
    """What is true of the key phases."""

    SETTLED = "settled"  # one phase
    ASKED = "asked"  # the issuer awaits the answer
    PREPARED = "prepared"  # the next keys are known, no packet of the next phase was opened
    OVERLAPPING = "overlapping"  # both phases are opened


class Rekeying:
    """The key phases of one link.

    Args:
        now: when phase 0 began.
        is_issuer: our role.
        root: the root key of phase 0.
        aead: the AEAD of the link.
        sealer: switched to the next phase here.
        opener: told here which phases to open.
        entropy: returns that many random bytes.
    """

    def __init__(
        self,
        now: Instant,
        is_issuer: bool,
        root: Secret,
        aead: AeadId,
        sealer: PacketSealer,
        opener: PacketOpener,
        entropy: Callable[[int], bytes],
    ) -> None:
        self.state = RekeyState.SETTLED
        self.phase = 0
        self._is_issuer = is_issuer
        self._root = root
        self._aead = aead
        self._sealer = sealer
        self._opener = opener
        self._entropy = entropy
        self._began_at = now
        self._total: ByteCount = 0
        self._began_total: ByteCount = 0
        self._ephemeral: KeyPair | None = None
        self._peer_ephemeral: bytes | None = None
        self._overlap_ends_at: Instant | None = None

    def next_timeout(self) -> Instant | None:
        """Return when `handle_timeout` has something to do."""
        if self._overlap_ends_at is not None:
            return self._overlap_ends_at
        if self._is_issuer and self.state is RekeyState.SETTLED:
            return Instant(self._began_at + REKEY_AFTER_S)
        return None

    def handle_timeout(self, now: Instant, total: ByteCount) -> Rekey | None:
        """Drop the old phase when its time is over; return the frame that starts the next one.

        Args:
            now: the time.
            total: bytes sealed and opened on the link so far.
        """
        self._total = total
        if self._overlap_ends_at is not None and now >= self._overlap_ends_at:
            self._opener.drop_phase((self.phase - 1) & 0xFF)
            self._overlap_ends_at = None
            self.state = RekeyState.SETTLED
        is_due = (
            now >= self._began_at + REKEY_AFTER_S or total - self._began_total >= REKEY_AFTER_BYTES
        )
        if not (self._is_issuer and is_due and self.state is RekeyState.SETTLED):
            return None
        self._ephemeral = KeyPair.from_secret(self._entropy(KEY_SIZE))
        self.state = RekeyState.ASKED
        return Rekey(self._ephemeral.public)

    def handle_rekey(self, now: Instant, frame: Rekey) -> RekeyAnswer | None:
        """Answer an issuer's REKEY; a repeated one says nothing new."""
        if self._is_issuer:
            raise ProtocolViolation("a claimer started a re-key")
        if frame.ephemeral == self._peer_ephemeral:
            return None
        if self.state is not RekeyState.SETTLED:
            raise ProtocolViolation("a re-key before the last one was over")
        ephemeral = KeyPair.from_secret(self._entropy(KEY_SIZE))
        self._peer_ephemeral = frame.ephemeral
        self._prepare(now, ephemeral, frame.ephemeral, ephemeral.public)
        return RekeyAnswer(ephemeral.public)

    def handle_answer(self, now: Instant, frame: RekeyAnswer) -> bool:
        """Take the claimer's answer and seal in the next phase; False if none was awaited."""
        if not self._is_issuer:
            raise ProtocolViolation("an answer to a re-key that was never asked for")
        if self.state is not RekeyState.ASKED or self._ephemeral is None:
            return False
        self._prepare(now, self._ephemeral, self._ephemeral.public, frame.ephemeral)
        self._ephemeral = None
        self._sealer.start_phase(self._key(is_from_issuer=True))
        return True

    def handle_opened(self, now: Instant) -> None:
        """Look at the phase of the newest packet: the peer may have gone on to the next one."""
        if self.state is not RekeyState.PREPARED or self._opener.newest_phase != self.phase & 0xFF:
            return
        if not self._is_issuer:
            self._sealer.start_phase(self._key(is_from_issuer=False))
        self.state = RekeyState.OVERLAPPING
        self._overlap_ends_at = Instant(now + OVERLAP_S)

    def _prepare(
        self, now: Instant, ours: KeyPair, issuer_public: bytes, claimer_public: bytes
    ) -> None:
        """Compute the next root and open its phase too; the old root is forgotten."""
        theirs = claimer_public if self._is_issuer else issuer_public
        try:
            shared = ours.exchange(theirs)
        except AuthenticationFailed as error:
            raise ProtocolViolation("a re-key with a public key of low order") from error
        parts = (shared, issuer_public, claimer_public)
        self._root = Secret(derive(self._root.value, "next root", *parts))
        self.phase += 1
        self.state = RekeyState.PREPARED
        self._began_at, self._began_total = now, self._total
        self._opener.add_phase(self.phase & 0xFF, self._key(is_from_issuer=not self._is_issuer))

    def _key(self, is_from_issuer: bool) -> bytes:
        return traffic_key(self._root.value, self._aead, is_from_issuer)
