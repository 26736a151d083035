"""Links of one who has a token and is hostile: every packet is authentic, and says what it likes."""

import os
import time

from stranger import Stranger
from support.processes import WAIT_S

from derphole.token.admission import ClaimHeader, encode_header
from derphole.token.text import SessionToken, parse_token
from tunnel.crypto.aead import AeadId
from tunnel.crypto.keys import DerpKey, KeyPair
from tunnel.crypto.link_keys import packet_keys
from tunnel.crypto.packets import OpenedBulk, OpenedGeneral
from tunnel.proto.meeting.handshake import Meeting, OutgoingClaim
from tunnel.wire import frames as wire
from tunnel.wire.handshake import ClaimPayload, decode_message, is_handshake

LINK_INDEX = 7


class HostileLink:
    """A claim that was accepted.

    Args:
        stranger: its connection to the relay; the newest link on it gets what comes back.
        token: what the issuer printed.
    """

    def __init__(self, stranger: Stranger, token: str) -> None:
        self._stranger = stranger
        parsed = parse_token(token)
        assert isinstance(parsed, SessionToken)
        self._issuer = bytes(parsed.issuer_derp)
        meeting = Meeting(parsed.issuer_noise, parsed.issuer_derp, DerpKey(stranger.public))
        payload = ClaimPayload(0, os.urandom(16), LINK_INDEX, 3, 255)
        ephemeral = KeyPair.from_secret(os.urandom(32))
        header = encode_header(ClaimHeader(parsed.grant))
        claim = OutgoingClaim(meeting, header, parsed.secret, payload, ephemeral)
        self._claim = claim
        decision, root = claim.read_decision(decode_message(memoryview(self._ask(claim.message))))
        assert decision.verdict == 0
        self._sealer, self._opener = packet_keys(
            root, AeadId(decision.aead), False, decision.link_index
        )
        self.say(wire.Ping())

    def _ask(self, message: bytes) -> bytes:
        """Send a claim until there is a decision; claims over the limit go unanswered."""
        deadline = time.monotonic() + WAIT_S
        while time.monotonic() < deadline:
            self._stranger.packets.clear()
            self._stranger.send(self._issuer, message)
            again_at = time.monotonic() + 0.5
            while time.monotonic() < again_at:
                self._stranger.process()
                for packet in self._stranger.packets:
                    if is_handshake(memoryview(packet)):
                        return packet
                time.sleep(0.002)
        raise AssertionError("no decision came")

    def say(self, *frames: wire.Frame) -> None:
        """Send frames in one packet."""
        _, packet = self._sealer.seal_general(0, b"".join(map(wire.encode, frames)))
        self._stranger.send(self._issuer, bytes(packet))

    def say_encoded(self, frames: bytes) -> None:
        """Send frames that are bytes already, in one packet."""
        _, packet = self._sealer.seal_general(0, frames)
        self._stranger.send(self._issuer, bytes(packet))

    def bulk(self, stream: int, offset: int, data: bytes) -> None:
        """Send bytes of a stream in a packet of their own."""
        _, packet = self._sealer.seal_bulk(0, stream, offset, data)
        self._stranger.send(self._issuer, bytes(packet))

    def opened(self) -> list[OpenedGeneral | OpenedBulk]:
        """Return the packets that came since the last call."""
        self._stranger.process()
        packets, self._stranger.packets = self._stranger.packets, []
        found = []
        for packet in packets:
            opened = (
                None if is_handshake(memoryview(packet)) else self._opener.open(memoryview(packet))
            )
            if opened is not None:
                self._opener.mark(opened)
                found.append(opened)
        return found
