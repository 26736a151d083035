"""Junk for an issuer, from one who knows everything in its token but the secret; and good claims.

Every kind of packet that an issuer reads, none of which may have any effect: noise, messages that
break off, claims with a good header and a wrong secret, decisions, sealed packets of no link.  One
who knows the secret as well can claim without end instead.
"""

import os
import random
import socket
import threading
import time
from collections.abc import Callable

from nacl import bindings
from stranger import Stranger

from derphole.token.admission import ClaimHeader, encode_header
from derphole.token.text import SessionToken
from tunnel.crypto.keys import DerpKey, KeyPair
from tunnel.proto.meeting.handshake import Meeting, OutgoingClaim
from tunnel.wire import derp
from tunnel.wire import packet as layout
from tunnel.wire.handshake import CLAIM_SIZE, DECISION_SIZE, MAGIC, VERSION, ClaimPayload, Kind

BURST = 16  # packets between two looks at the relay: its queues hold 32 for one client
LARGEST = 60 << 10
SMALL = 1500


class Junk:
    """Makes junk for the issuer of a token; `seed` decides every byte but those of keys."""

    def __init__(self, token: SessionToken, seed: int) -> None:
        self._random = random.Random(seed)
        self._token = token
        self._makers: list[Callable[[], bytes]] = [
            self._noise, self._cut_claim, self._claim_of_noise, self._claim_with_a_wrong_secret,
            self._decision, self._sealed_of_no_link, self._bulk_of_no_link,
        ]  # fmt: skip

    def packet(self) -> bytes:
        """Return the next one; one of a hundred is as large as a relay takes."""
        if self._random.random() < 0.01:
            return self._random.randbytes(LARGEST)
        return self._random.choice(self._makers)()

    def _noise(self) -> bytes:
        return self._random.randbytes(self._random.randrange(SMALL))

    def _prefix(self, kind: Kind) -> bytes:
        return MAGIC + bytes((kind, VERSION))

    def _cut_claim(self) -> bytes:
        return self._claim_of_noise()[: self._random.randrange(CLAIM_SIZE)]

    def _claim_of_noise(self) -> bytes:
        prefix = self._prefix(Kind.CLAIM)
        return prefix + self._random.randbytes(CLAIM_SIZE - len(prefix))

    def _claim_with_a_wrong_secret(self) -> bytes:
        token = self._token
        public, _ = bindings.crypto_box_keypair()
        meeting = Meeting(token.issuer_noise, token.issuer_derp, DerpKey(public))
        payload = ClaimPayload(0, os.urandom(16), self._random.getrandbits(32), 0, 24)
        header = encode_header(ClaimHeader(token.grant))
        ephemeral = KeyPair.from_secret(os.urandom(32))
        return OutgoingClaim(meeting, header, os.urandom(16), payload, ephemeral).message

    def _decision(self) -> bytes:
        prefix = self._prefix(Kind.DECISION)
        return prefix + self._random.randbytes(DECISION_SIZE - len(prefix))

    def _sealed_of_no_link(self) -> bytes:
        draw = self._random
        index, number = draw.getrandbits(32), draw.getrandbits(62)
        return layout.encode_general_header(0, 0, index, number) + self._noise()

    def _bulk_of_no_link(self) -> bytes:
        draw = self._random
        index, number = draw.getrandbits(32), draw.getrandbits(20)
        return layout.encode_bulk_header(0, 0, index, number, 2, 0) + self._noise()


class Thrower(Stranger):
    """A stranger that throws many packets at once."""

    def throw(self, to: bytes, packets: list[bytes]) -> None:
        """Send packets; return once the relay has passed them on."""
        frames = [derp.encode_frame(derp.FrameType.SEND_PACKET, to, packet) for packet in packets]
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.sendall(b"".join(frames))
        self.process()


class Flood:
    """Strangers, each with a key of its own, that throw junk at an issuer until told to stop.

    Args:
        relay_port: of a relay on this machine.
        token: the issuer's.
        seed: decides the junk.
    """

    def __init__(self, relay_port: int, token: SessionToken, seed: int) -> None:
        self.sent = 0
        self._relay_port = relay_port
        self._junk = Junk(token, seed)
        self._issuer = bytes(token.issuer_derp)
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._go_on, name="flood", daemon=True)

    def send(self, count: int, strangers: int = 4) -> None:
        """Send `count` packets of junk, in turn by several strangers; nothing is ever answered."""
        for _ in range(strangers):
            with Thrower(self._relay_port) as stranger:
                for _ in range(-(-count // strangers // BURST)):
                    self._burst(stranger)
                assert not stranger.packets, "junk was answered"

    def __enter__(self) -> "Flood":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _go_on(self) -> None:
        with Thrower(self._relay_port) as stranger:
            while not self._is_over.is_set():
                self._burst(stranger)

    def _burst(self, stranger: Thrower) -> None:
        stranger.throw(self._issuer, self._packets(stranger.public))
        self.sent += BURST

    def _packets(self, public: bytes) -> list[bytes]:
        return [self._junk.packet() for _ in range(BURST)]


class ClaimFlood(Flood):
    """One who has the token and claims without end, each time anew; decisions are counted."""

    def __init__(self, relay_port: int, token: SessionToken) -> None:
        super().__init__(relay_port, token, 0)
        self.answered = 0
        self._token = token

    def send_for(self, seconds: float) -> None:
        """Claim for so long, by one connection."""
        deadline = time.monotonic() + seconds
        with Thrower(self._relay_port) as stranger:
            while time.monotonic() < deadline:
                self._burst(stranger)
            self.answered += len(stranger.packets)

    def _packets(self, public: bytes) -> list[bytes]:
        return [good_claim(self._token, public) for _ in range(BURST)]


def good_claim(token: SessionToken, public: bytes) -> bytes:
    """Return a new claim of one who has a token, and is known by this key."""
    meeting = Meeting(token.issuer_noise, token.issuer_derp, DerpKey(public))
    payload = ClaimPayload(0, os.urandom(16), 7, 0, 24)
    header = encode_header(ClaimHeader(token.grant))
    ephemeral = KeyPair.from_secret(os.urandom(32))
    return OutgoingClaim(meeting, header, token.secret, payload, ephemeral).message
