"""A second implementation, made of docs/protocol.md alone: reads a recorded exchange to its end.

    token -> keys -> claim: header, MAC, Noise message 1 -> decision: message 2 -> traffic keys
    -> packets -> frames -> streams -> messages, size and digest

It knows Noise, libsodium and XXH3, and takes every label, size and code from the document.  It
believes nothing: what does not agree raises.  No code of ours is imported here.
"""

import hmac
from base64 import urlsafe_b64decode
from dataclasses import dataclass, field
from hashlib import blake2b

from nacl import bindings
from protocol_document import Unreadable, number, parse, parse_whole
from xxhash import xxh3_128

OPEN = {
    b"CHACHA20_POLY1305": bindings.crypto_aead_chacha20poly1305_ietf_decrypt,
    b"AEGIS_256": bindings.crypto_aead_aegis256_decrypt,
}


def check(is_true, what):
    if not is_true:
        raise Unreadable(what)


class Noise:
    """Symmetric state of the initiator of an NKpsk0 handshake; Noise revision 34."""

    def __init__(self, name, prologue):
        self.hash = self.chaining_key = name.ljust(64, b"\0")
        self.mix_hash(prologue)

    def mix_hash(self, data):
        self.hash = blake2b(self.hash + data).digest()

    def hkdf(self, material, count):
        temporary = hmac.digest(self.chaining_key, material, "blake2b")
        outputs = [b""]
        for place in range(1, count + 1):
            outputs.append(hmac.digest(temporary, outputs[-1] + bytes((place,)), "blake2b"))
        return outputs[1:]

    def mix_key(self, material):
        self.chaining_key, key = self.hkdf(material, 2)
        self.key = key[:32]

    def psk(self, psk):
        self.chaining_key, absorbed, key = self.hkdf(psk, 3)
        self.mix_hash(absorbed)
        self.key = key[:32]

    def e(self, public):
        self.mix_hash(public)
        self.mix_key(public)

    def open(self, sealed):
        plain = bindings.crypto_aead_chacha20poly1305_ietf_decrypt(
            sealed, self.hash, bytes(12), self.key
        )
        self.mix_hash(sealed)
        return plain

    def split(self):
        return b"".join(key[:32] for key in self.hkdf(b"", 2))


@dataclass
class Half:
    """One direction of a stream, as its receiver has it."""

    data: bytearray = field(default_factory=bytearray)
    has: set = field(default_factory=set)
    final_size: int | None = None

    def store(self, offset, data):
        end = offset + len(data)
        if len(self.data) < end:
            self.data.extend(bytes(end - len(self.data)))
        self.data[offset:end] = data
        self.has.update(range(offset, end))

    @property
    def is_whole(self):
        return self.final_size is not None and len(self.has) == self.final_size == len(self.data)


@dataclass
class Sender:
    """What one side sent: its key, its numbers, its streams."""

    index: int
    key: bytes = b""
    arrived: dict = field(default_factory=dict)  # number: whether it arrived
    streams: dict = field(default_factory=dict)
    frames: list = field(default_factory=list)
    lost_bytes: int = 0


class ExchangeReader:
    """Reads one exchange by one document."""

    def __init__(self, document, exchange):
        self.document = document
        self.exchange = exchange
        self.values = {}
        self.packets = [bytes.fromhex(packet["bytes"]) for packet in exchange["packets"]]
        self.bulk_count = 0

    def run(self):
        self.read_token()
        self.derive_issuer()
        noise = self.read_claim()
        self.read_decision(noise)
        for packet, record in zip(self.packets[2:], self.exchange["packets"][2:], strict=True):
            self.read_packet(packet, record["from"], record["arrives"])
        self.check_conversation()
        return self

    # -- token and grant --------------------------------------------------------------------

    def read_token(self):
        document, text = self.document, self.exchange["token"]
        row = document.row("tokens", "session")
        prefix = document.cell("tokens", row, "prefix").strip('"')
        check(text.startswith(prefix), "the token has another prefix")
        armoured = text[len(prefix) :]
        data = urlsafe_b64decode(armoured + "=" * (-len(armoured) % 4))
        size = document.constant("checksum_size")
        body, checksum = data[:-size], data[-size:]
        check(blake2b(prefix.encode() + body, digest_size=size).digest() == checksum, "checksum")
        self.token = parse_whole(document.fields("tokens", row), body)
        hints = self.token["hints"]
        check(hints[0] <= document.limit("max_regions"), "hints of another form")
        regions = parse_whole(document.fields("hints", document.row("hints", "regions")), hints)
        self.regions = [number(region["region"]) for region in regions["count*"]]
        capability = number(self.token["capability"])
        check(capability == document.constant("capability_listen"), "capability")

    def derive_issuer(self):
        """From the seed: the token's public keys and its secret again."""
        document, token, values = self.document, self.token, self.values
        values["seed"] = bytes.fromhex(self.exchange["seed"])
        for name, public in (("noise_static_secret", "noise"), ("derp_secret", "derp")):
            values[name] = document.derive(name, values)
            check(bindings.crypto_scalarmult_base(values[name]) == token[public], public)
        values["minting_key"] = document.derive("minting_key", values)
        name_size = document.constant("max_name_size")
        values |= {name: token[name] for name in ("grant_id", "expiry", "capability")}
        values["padded_name"] = token["name"].ljust(name_size, b"\0")
        check(len(token["grant_id"]) == document.constant("grant_id_size"), "grant id")
        values["grant_secret"] = document.derive("grant_secret", values)
        check(values["grant_secret"] == token["secret"], "the grant's secret")
        values["issuer_noise"], values["issuer_derp"] = token["noise"], token["derp"]
        values["claimer_derp"] = bytes.fromhex(self.exchange["claimer"]["derp_public"])

    # -- claim and decision -----------------------------------------------------------------

    def read_message(self, table, kind, data):
        document = self.document
        message = parse_whole(document.layout(table), data)
        check(message["magic"] == document.constant("handshake_magic"), "magic")
        check(number(message["kind"]) == document.constant(kind), "kind")
        check(number(message["version"]) == document.constant("version"), "version")
        return message

    def read_claim(self):
        document, values, token = self.document, self.values, self.token
        data = self.packets[0]
        claim = self.read_message("claim", "kind_claim", data)
        nonce = claim["ephemeral"][: document.constant("header_nonce_size")]
        values["header"] = bindings.crypto_aead_xchacha20poly1305_ietf_decrypt(
            claim["sealed_header"], None, nonce, document.derive("claim_header_key", values)
        )
        header = parse_whole(document.layout("header"), values["header"])
        for name in ("capability", "expiry", "grant_id"):
            check(header[name] == token[name], f"the header's {name}")
        check(header["padded_name"] == values["padded_name"], "the header's name")
        check(not any(header["flags"] + header["zero"] + header["proof"]), "zeros")
        values["claim_without_mac"] = data.replace(claim["mac"], b"")
        values["claim_mac_key"] = document.derive("claim_mac_key", values)
        check(document.derive("claim_mac", values) == claim["mac"], "the claim's MAC")
        return self.open_message_1(claim)

    def open_message_1(self, claim):
        document, values = self.document, self.values
        values["prologue_label"] = document.constant("prologue_label")
        values["version"] = claim["version"]
        row = document.row("prologue", "prologue")
        parts = document.cell("prologue", row, "parts").replace("`", "").split()
        noise = Noise(document.constant("noise_name"), b"".join(values[part] for part in parts))
        noise.mix_hash(values["issuer_noise"])
        noise.psk(document.derive("psk", values))
        noise.e(claim["ephemeral"])
        secret = bytes.fromhex(self.exchange["claimer"]["ephemeral_secret"])
        check(bindings.crypto_scalarmult_base(secret) == claim["ephemeral"], "the ephemeral")
        shared = bindings.crypto_scalarmult(secret, values["issuer_noise"])
        of_issuer = bindings.crypto_scalarmult(values["noise_static_secret"], claim["ephemeral"])
        check(shared == of_issuer, "es of both sides")
        noise.mix_key(shared)
        self.claim = self.payload("claim_payload", noise.open(claim["sealed_payload"]))
        program = self.exchange["claimer"]["program"]
        check(self.claim["program"].rstrip(b"\0") == program.encode(), "the claimer's program")
        check(number(self.claim["supported"]) == 3, "the features the claimer knows")
        return noise

    def read_decision(self, noise):
        document, values = self.document, self.values
        decision = self.read_message("decision", "kind_decision", self.packets[1])
        secret = bytes.fromhex(self.exchange["claimer"]["ephemeral_secret"])
        noise.e(decision["ephemeral"])
        noise.mix_key(bindings.crypto_scalarmult(secret, decision["ephemeral"]))
        self.decision = self.payload("decision_payload", noise.open(decision["sealed_payload"]))
        check(number(self.decision["verdict"]) == document.constant("accepted"), "the verdict")
        program = self.exchange["issuer"]["program"]
        check(self.decision["program"].rstrip(b"\0") == program.encode(), "the issuer's program")
        values["split_keys"] = noise.split()
        values["root"] = document.derive("root", values)
        aead_id = number(self.decision["aead"])
        check(number(self.claim["fast_aeads"]) >> aead_id & 1, "an AEAD that was not offered")
        row = document.by_value("aeads", "id", aead_id)
        self.aead = OPEN[value := document.cell("aeads", row, "name").strip('"').encode()]
        self.nonce_size = int(document.cell("aeads", row, "nonce"))
        self.tag_size = int(document.cell("aeads", row, "tag"))
        # A side puts the other's index into its packets.
        self.senders = {
            "claimer": Sender(number(self.decision["link_index"])),
            "issuer": Sender(number(self.claim["link_index"])),
        }
        for name, sender in self.senders.items():
            direction = document.constant(f"direction_{name}")
            sender.key = document.derive(
                "traffic_key", values, aead_name=value, direction=direction
            )

    def payload(self, table, data):
        values, rest = parse(self.document.layout(table), data)
        check(not any(rest), "bytes behind the last field")
        return values

    # -- packets ----------------------------------------------------------------------------

    def read_packet(self, data, name, arrives):
        document, sender = self.document, self.senders[name]
        is_bulk = data[0] == document.constant("type_bulk")
        if not is_bulk:
            check(data[0] == document.constant("type_general"), "an unknown type of packet")
        header, sealed = parse(document.layout("bulk" if is_bulk else "general"), data)
        size = len(data) - len(sealed)
        check(number(header["link_index"]) == sender.index, "another link's index")
        check(number(header["phase"]) == 0, "another key phase")
        check(number(header["path"]) == document.constant("relay_path"), "another path")
        count = number(header["number"])
        check(count == len(sender.arrived), "numbers that do not count up from 0")
        check(len(data) <= document.limit("max_relay_packet"), "too large a packet")
        plain = self.aead(sealed, data[:size], self.nonce(header), sender.key)
        check(len(sealed) - len(plain) == self.tag_size, "another size of tag")
        sender.arrived[count] = arrives
        if is_bulk:
            self.bulk_count += 1
            check(len(plain) % document.limit("bulk_alignment") == 0, "bulk that is not aligned")
            self.store(sender, header, plain, arrives)
        else:
            self.read_frames(sender, plain, arrives)

    def nonce(self, header):
        row = self.document.row("nonces", "nonce")
        fields = self.document.fields("nonces", row).split()
        sizes = [entry.split(":") for entry in fields]
        packed = b"".join(number(header[n]).to_bytes(int(size), "little") for n, size in sizes)
        return packed.ljust(self.nonce_size, b"\0")

    def read_frames(self, sender, plain, arrives):
        document = self.document
        while plain:
            row = document.by_value("frames", "type", plain[0])
            values, plain = parse(document.fields("frames", row), plain[1:])
            name = row["frame"].strip("`")
            sender.frames.append((name, values))
            if name == "stream":
                is_end = number(values["flags"]) & document.constant("stream_ends")
                self.store(sender, values, values["data"], arrives, is_end)
            elif name == "ack":
                self.check_ack(sender, values)

    def store(self, sender, values, data, arrives, is_end=False):
        offset = number(values["offset"])
        half = sender.streams.setdefault(number(values["stream"]), Half())
        if not arrives:
            sender.lost_bytes += len(data)
            return
        check(offset + len(data) <= self.credit_of(sender, number(values["stream"])), "credit")
        half.store(offset, data)
        if is_end:
            half.final_size = offset + len(data)

    def credit_of(self, sender, stream):
        """Return how far a side may send on a stream, by what the other side sent so far."""
        other = next(one for one in self.senders.values() if one is not sender)
        told = [
            number(values["limit"])
            for name, values in other.frames
            if name == "credit" and number(values["stream"]) == stream
        ]
        return max([self.document.limit("credit_floor"), *told])

    def check_ack(self, sender, ack):
        other = next(one for one in self.senders.values() if one is not sender)
        check(number(ack["path"]) == self.document.constant("relay_path"), "an ACK of another path")
        check(number(ack["relay_grant"]) == self.document.limit("relay_grant_total"), "the grant")
        check(number(ack["delay_us"]) < 1_000_000, "an ACK that took a second")
        last, length = number(ack["largest"]), number(ack["length"])
        acked = set()
        for more in ({}, *ack["more*"]):
            if more:
                last, length = last - length - number(more["gap"]), number(more["length"])
            check(length > 0, "an empty range")
            acked.update(range(last - length + 1, last + 1))
        arrived = {count for count, is_there in other.arrived.items() if is_there}
        check(acked <= arrived, "an ACK of a packet that never arrived")
        check(max(acked) + 1 == len(acked) + len(set(range(max(acked))) - arrived), "gaps")

    # -- the conversation -------------------------------------------------------------------

    def check_conversation(self):
        document = self.document
        for name, sender in self.senders.items():
            for kind in ("reset", "stop"):
                said = [
                    [number(part) for part in body.values()]
                    for f, body in sender.frames
                    if f == kind
                ]
                check(said == self.exchange[f"{kind}s"][name], f"{kind} of the {name}")
        claimer, issuer = self.senders["claimer"], self.senders["issuer"]
        half = claimer.streams[document.constant("data_stream")]
        check(half.is_whole, "the data stream has no end, or holes")
        self.data = bytes(half.data)
        control = document.constant("control_stream")
        said = self.messages(claimer.streams[control].data)
        answered = self.messages(issuer.streams[control].data)
        check([name for name, _ in said] == ["fin", "confirm_ack"], "the claimer's messages")
        check([name for name, _ in answered] == ["confirm"], "the issuer's messages")
        for _, body in (said[0], answered[0]):
            check(number(body["size"]) == len(self.data), "the size")
            check(body["digest"] == xxh3_128(self.data).digest(), "the digest")
            check(len(body["digest"]) == document.constant("digest_size"), "the digest's size")
        name, close = issuer.frames[-1]
        check(name == "close", "the exchange does not end with CLOSE")
        check(number(close["code"]) == document.constant("done"), "the close code")

    def messages(self, data):
        document, found = self.document, []
        header = document.fields("message_header", document.row("message_header", "message"))
        while data:
            message, data = parse(header, bytes(data))
            row = document.by_value("messages", "type", number(message["type"]))
            found.append(
                (
                    row["message"].strip("`"),
                    parse_whole(document.fields("messages", row), message["body"]),
                )
            )
        return found
