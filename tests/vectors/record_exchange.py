"""Records the exchanges that docs/protocol.md is checked against; run it to write them anew.

    python tests/vectors/record_exchange.py

    seed -> token -> claim, decision -> knock, admission -> 20 KiB with one packet lost, a stream
    reset and one stopped -> FIN, CONFIRM, CONFIRM_ACK -> CLOSE

One file for each AEAD.  The machines are the real ones; time and randomness are fixed, so that the
same code always records the same bytes.
"""

import heapq
import json
from collections.abc import Callable
from hashlib import blake2b, sha256
from pathlib import Path

from xxhash import xxh3_128

from derphole.speech.endings import Ending
from derphole.speech.messages import Confirm, ConfirmAck, Fin, MessageReader, encode
from derphole.token.admission import ClaimHeader, SessionGate, claim_header, encode_header
from derphole.token.grant import Capability, Grant, Mint
from derphole.token.hints import RegionHints
from derphole.token.text import SessionToken, parse_token, session_token, token_text
from tunnel.crypto.aead import AeadId
from tunnel.crypto.keys import DerpKey, KeyPair
from tunnel.proto.link.events import LinkClosed
from tunnel.proto.link.parameters import Feature
from tunnel.proto.link.peer_link import PeerLink
from tunnel.proto.meeting.claimer import Claimer, ClaimerIdentity, LinkUp
from tunnel.proto.meeting.handshake import Meeting
from tunnel.proto.meeting.issuer import Issuer, IssuerIdentity
from tunnel.proto.meeting.places import LinkAdmitted
from tunnel.proto.streams.table import StreamOpened, StreamReadable
from tunnel.units import Instant, WallTime
from tunnel.wire.packet import BULK

FOLDER = Path(__file__).parent
FILES = {aead: FOLDER / f"exchange_{aead.name.lower()}.json" for aead in AeadId}

SEED = bytes(range(32))
GRANT = Grant(bytes.fromhex("a0a1a2a3a4a5a6a7"), 1_900_003_600, Capability.LISTEN, "recorded")
ISSUER_PROGRAM, CLAIMER_PROGRAM = b"a recorder, issuer 1.2.3", b"a recorder claimer 4.5.6"
CLOCK = 1_900_000_000.0  # wall clock of the issuer when the recording begins
DELAY_S = 0.010  # one way, through the relay
LOST = 1  # the bulk packet, counted from 0, that the relay drops
DATA = b"".join(b"line %05d of the recorded stream\n" % number for number in range(700))[:20_483]
CONTROL, PAYLOAD, GIVEN_UP = 0, 2, 4  # the claimer's streams
UNWANTED = 1  # the issuer's
GIVEN_UP_DATA, GIVEN_UP_CODE, UNWANTED_CODE = b"never mind", 7, 8
LIMIT_S = 20.0


def drawn(label: str, notes: dict[int, list[bytes]]) -> Callable[[int], bytes]:
    """Return an entropy function that always draws the same bytes, and notes them by size."""
    count = 0

    def entropy(size: int) -> bytes:
        nonlocal count
        count += 1
        data = blake2b(f"{label} {count}".encode(), digest_size=size).digest()
        notes.setdefault(size, []).append(data)
        return data

    return entropy


class Side:
    """One machine, its link and what its application still has to do."""

    def __init__(self, name: str, machine: Issuer | Claimer) -> None:
        self.name = name
        self.machine = machine
        self.link: PeerLink | None = None
        self.messages = MessageReader()
        self.received = bytearray()
        self.bulk_sent = 0
        self.is_over = False


class Recording:
    """Runs one exchange to its end."""

    def __init__(self, aead: AeadId) -> None:
        self.now = 0.0
        self.packets: list[dict[str, object]] = []
        self._arrivals: list[tuple[float, int, Side, bytes]] = []
        self._entropy: dict[str, dict[int, list[bytes]]] = {"issuer": {}, "claimer": {}}
        issuer = Mint.from_seed(SEED)
        text = token_text(session_token(issuer, GRANT, RegionHints((10, 302))))
        token = parse_token(text)
        assert isinstance(token, SessionToken)
        self.token = text
        self.claimer_derp = KeyPair.from_secret(drawn("claimer derp", {})(32))
        self.instance = drawn("claimer instance", {})(16)
        fast_aeads = 1 << AeadId.CHACHA20_POLY1305 | 1 << aead
        identity = IssuerIdentity(
            issuer.keys.noise,
            DerpKey(issuer.keys.derp.public),
            Feature(0),
            fast_aeads,
            program=ISSUER_PROGRAM,
        )
        self.issuer = Side(
            "issuer",
            Issuer(
                identity,
                SessionGate(issuer.keys, GRANT),
                drawn("issuer", self._entropy["issuer"]),
                lambda _: False,
                lambda *_: None,
            ),
        )
        meeting = Meeting(token.issuer_noise, token.issuer_derp, DerpKey(self.claimer_derp.public))
        self.header = encode_header(ClaimHeader(token.grant))
        claims = ClaimerIdentity(
            meeting,
            claim_header(token.grant),
            token.secret,
            self.instance,
            Feature(0),
            fast_aeads,
            program=CLAIMER_PROGRAM,
        )
        self.claimer = Side(
            "claimer",
            Claimer(
                Instant(0),
                claims,
                [0],
                drawn("claimer", self._entropy["claimer"]),
                lambda _: False,
                lambda *_: None,
            ),
        )

    @property
    def sides(self) -> tuple[Side, Side]:
        return self.issuer, self.claimer

    def run(self) -> None:
        """Run until both links are closed."""
        while not all(side.is_over for side in self.sides):
            for side in self.sides:
                self._work(side)
            times = [side.machine.next_timeout() for side in self.sides if not side.is_over]
            due = [time for time in times if time is not None and time > self.now]
            due += [self._arrivals[0][0]] if self._arrivals else []
            self.now = min(due)
            assert self.now < LIMIT_S, "the exchange does not end"
            while self._arrivals and self._arrivals[0][0] <= self.now:
                _, _, side, data = heapq.heappop(self._arrivals)
                self._deliver(side, data)

    def _deliver(self, side: Side, data: bytes) -> None:
        now, view = Instant(self.now), memoryview(data)
        if isinstance(side.machine, Issuer):
            source = DerpKey(self.claimer_derp.public)
        else:
            source = DerpKey(Mint.from_seed(SEED).keys.derp.public)
        side.machine.handle_packet(now, WallTime(CLOCK + self.now), 0, source, view)
        self._take_events(side)

    def _work(self, side: Side) -> None:
        machine, now = side.machine, Instant(self.now)
        due = machine.next_timeout()
        if due is not None and due <= now:
            machine.handle_timeout(now)
        while packets := machine.packets_to_send(now):
            for packet in packets:
                self._send(side, bytes(packet.data))
        self._take_events(side)

    def _send(self, side: Side, data: bytes) -> None:
        is_bulk = data[0] == BULK
        is_lost = is_bulk and side.bulk_sent == LOST
        side.bulk_sent += is_bulk
        self.packets.append(
            {"at_ms": round(self.now * 1000), "from": side.name, "arrives": not is_lost,
             "bytes": data.hex()}
        )  # fmt: skip
        if not is_lost:
            other = self.issuer if side is self.claimer else self.claimer
            arrival = (self.now + DELAY_S, len(self.packets), other, data)
            heapq.heappush(self._arrivals, arrival)

    def _take_events(self, side: Side) -> None:
        while (event := side.machine.next_event()) is not None:
            assert isinstance(event, LinkUp | LinkAdmitted), event
            side.link = event.link
            self._begin(side, event.link)
        while side.link is not None and (happened := side.link.next_event()) is not None:
            if isinstance(happened, LinkClosed):
                side.is_over = True
            elif isinstance(happened, StreamOpened | StreamReadable):
                self._read(side, side.link, happened.stream)

    def _begin(self, side: Side, link: PeerLink) -> None:
        """Do what a side does once it has a link."""
        streams = link.streams
        if side is self.issuer:
            assert streams.open() == UNWANTED
            return
        assert [streams.open() for _ in range(3)] == [CONTROL, PAYLOAD, GIVEN_UP]
        streams.write(PAYLOAD, DATA)
        streams.end(PAYLOAD)
        streams.write(CONTROL, encode(Fin(len(DATA), xxh3_128(DATA).digest())))
        streams.write(GIVEN_UP, GIVEN_UP_DATA)

    def _read(self, side: Side, link: PeerLink, stream: int) -> None:
        receiving = link.streams.receiving(stream)
        if receiving is None:
            return
        if stream == UNWANTED and side is self.claimer and not receiving.is_stopped:
            link.streams.stop(stream, UNWANTED_CODE)
            return
        while receiving.readable:
            for chunk in link.read(Instant(self.now), stream, 1 << 20):
                if stream == CONTROL:
                    side.messages.feed(chunk)
                elif stream == PAYLOAD:
                    side.received += chunk
        self._answer(side, link)

    def _answer(self, side: Side, link: PeerLink) -> None:
        if side is self.issuer and bytes(side.received) != DATA:
            return
        message = side.messages.next_message()
        if isinstance(message, Fin):
            link.streams.write(CONTROL, encode(Confirm(message.size, message.digest)))
        elif isinstance(message, Confirm):
            link.streams.reset(GIVEN_UP, GIVEN_UP_CODE)
            link.streams.write(CONTROL, encode(ConfirmAck()))
        elif isinstance(message, ConfirmAck):
            link.close(Instant(self.now), Ending.DONE, "done")

    def document(self) -> dict[str, object]:
        """Return everything a reader needs, and what it must find."""
        return {
            "written_by": "tests/vectors/record_exchange.py",
            "token": self.token,
            "seed": SEED.hex(),
            "claimer": {
                "derp_public": self.claimer_derp.public.hex(),
                "ephemeral_secret": self._entropy["claimer"][32][0].hex(),
                "instance": self.instance.hex(),
                "program": CLAIMER_PROGRAM.decode(),
                "link_index": int.from_bytes(self._entropy["claimer"][4][0], "little"),
            },
            "issuer": {
                "ephemeral_secret": self._entropy["issuer"][32][0].hex(),
                "link_index": int.from_bytes(self._entropy["issuer"][4][0], "little"),
                "clock_ms": round((CLOCK + DELAY_S) * 1000),
                "program": ISSUER_PROGRAM.decode(),
            },
            "grant": {
                "id": GRANT.id.hex(),
                "expires_at": GRANT.expires_at,
                "capability": int(GRANT.capability),
                "name": GRANT.name,
                "header": self.header.hex(),
            },
            "data": {
                "size": len(DATA),
                "sha256": sha256(DATA).hexdigest(),
                "xxh3_128": xxh3_128(DATA).hexdigest(),
            },
            "resets": {
                "claimer": [[GIVEN_UP, len(GIVEN_UP_DATA), GIVEN_UP_CODE]],
                "issuer": [[UNWANTED, 0, UNWANTED_CODE]],
            },
            "stops": {"claimer": [[UNWANTED, UNWANTED_CODE]], "issuer": []},
            "packets": self.packets,
        }


def record(aead: AeadId) -> str:
    """Return one recorded exchange as the text of its file."""
    recording = Recording(aead)
    recording.run()
    return json.dumps(recording.document(), indent=1) + "\n"


if __name__ == "__main__":
    for aead, path in FILES.items():
        path.write_text(record(aead))
        print(path)
