"""Relay hints: where the two sides of a token meet.

    regions    0x00-0x03: how many | region id u16 LE, each
    own relay  0x80 + flags | port u16 LE | STUN port u16 LE (0: off) | host length u8 | host
               | pin 16, if any                 flags: 0x01 TLS, 0x02 pin (only with TLS)
    host       three characters in two bytes (u16 LE, base 40, the first character counts most);
               the last three are filled up with pads

Packing keeps a token whose own relay has a name of 100 characters under 320 characters.  Source:
docs/protocol.md, section "Tokens and grants".  Pure; knows nothing about how a relay is reached.
"""

from dataclasses import dataclass

from tunnel.errors import DecodeError
from tunnel.wire.reader import Reader

# Fixed by the protocol.
MAX_REGIONS = 3
MAX_HOST_SIZE = 253  # the longest DNS name
PIN_SIZE = 16  # the first half of the SHA-256 of the public key
OWN_RELAY = 0x80
FLAG_TLS = 0x01
FLAG_PIN = 0x02
PAD = "\0"
HOST_ALPHABET = PAD + "abcdefghijklmnopqrstuvwxyz0123456789.-:"
BASE = len(HOST_ALPHABET)
GROUP_LETTERS = 3
GROUP_SIZE = 2


@dataclass(frozen=True, slots=True)
class RegionHints:
    """Regions of the public relay map, best first; none means the rule both sides know.

    Args:
        ids: at most three region ids, each 1 to 65535, no id twice.

    Raises `ValueError` for ids that no token can carry.
    """

    ids: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if len(self.ids) > MAX_REGIONS:
            raise ValueError(f"a token carries at most {MAX_REGIONS} regions")
        if any(not 0 < region <= 0xFFFF for region in self.ids):
            raise ValueError("a region id must be 1 to 65535")
        if len(set(self.ids)) != len(self.ids):
            raise ValueError("a region is in the hints twice")


@dataclass(frozen=True, slots=True)
class OwnRelay:
    """A relay that is not on the public map.

    Args:
        host: DNS name or IP address without brackets; kept in lower case.
        port: TCP port.
        stun_port: UDP port of its STUN server; 0 when it has none.
        tls: whether it speaks TLS.
        pin: first 16 bytes of the SHA-256 of its public key, when no public authority vouches
            for it; needs `tls`.

    Raises `ValueError` for values that no token can carry.
    """

    host: str
    port: int
    stun_port: int = 0
    tls: bool = True
    pin: bytes | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "host", self.host.lower())
        if not 0 < len(self.host) <= MAX_HOST_SIZE:
            raise ValueError(f"a relay's host name must have 1 to {MAX_HOST_SIZE} characters")
        strange = sorted(set(self.host) - set(HOST_ALPHABET[1:]))
        if strange:
            raise ValueError(
                f"the relay's host name {self.host!r} has characters that no token can carry; "
                "use letters a-z, digits, '.', '-' and ':'"
            )
        if not 0 < self.port <= 0xFFFF or not 0 <= self.stun_port <= 0xFFFF:
            raise ValueError("a port must be 1 to 65535")
        if self.pin is not None and (len(self.pin) != PIN_SIZE or not self.tls):
            raise ValueError(f"a pin has {PIN_SIZE} bytes and needs TLS")


RelayHints = RegionHints | OwnRelay


def encode_hints(hints: RelayHints) -> bytes:
    """Return the bytes of relay hints."""
    if isinstance(hints, RegionHints):
        ids = b"".join(region.to_bytes(2, "little") for region in hints.ids)
        return bytes([len(hints.ids)]) + ids
    flags = OWN_RELAY | (FLAG_TLS if hints.tls else 0) | (FLAG_PIN if hints.pin else 0)
    ports = hints.port.to_bytes(2, "little") + hints.stun_port.to_bytes(2, "little")
    length = bytes([len(hints.host)])
    return bytes([flags]) + ports + length + pack_host(hints.host) + (hints.pin or b"")


def decode_hints(reader: Reader) -> RelayHints:
    """Read relay hints; raises `DecodeError` for bytes that `encode_hints` never makes."""
    kind = reader.uint(1)
    try:
        if kind <= MAX_REGIONS:
            return RegionHints(tuple(reader.uint(2) for _ in range(kind)))
        if kind & ~(FLAG_TLS | FLAG_PIN) != OWN_RELAY:
            raise DecodeError(f"relay hints of an unknown kind {kind:#04x}")
        port, stun_port, length = reader.uint(2), reader.uint(2), reader.uint(1)
        host = unpack_host(reader.bytes(packed_size(length)), length)
        pin = reader.bytes(PIN_SIZE) if kind & FLAG_PIN else None
        return OwnRelay(host, port, stun_port, tls=bool(kind & FLAG_TLS), pin=pin)
    except ValueError as error:
        raise DecodeError(str(error)) from error


def packed_size(letters: int) -> int:
    """Return how many bytes a host name of `letters` characters takes."""
    return -(-letters // GROUP_LETTERS) * GROUP_SIZE


def pack_host(host: str) -> bytes:
    """Pack a host name of characters in `HOST_ALPHABET`, three in two bytes."""
    padded = host + PAD * (-len(host) % GROUP_LETTERS)
    packed = bytearray()
    for start in range(0, len(padded), GROUP_LETTERS):
        value = 0
        for letter in padded[start : start + GROUP_LETTERS]:
            value = value * BASE + HOST_ALPHABET.index(letter)
        packed += value.to_bytes(GROUP_SIZE, "little")
    return bytes(packed)


def unpack_host(packed: bytes, length: int) -> str:
    """Unpack a host name of `length` characters; raises `DecodeError` unless pads end it."""
    letters: list[str] = []
    for start in range(0, len(packed), GROUP_SIZE):
        value = int.from_bytes(packed[start : start + GROUP_SIZE], "little")
        if value >= BASE**GROUP_LETTERS:
            raise DecodeError("a host name has a group beyond the alphabet")
        high, low = divmod(value, BASE)
        letters += [HOST_ALPHABET[n] for n in (*divmod(high, BASE), low)]
    text = "".join(letters)
    host, pads = text[:length], text[length:]
    if PAD in host or pads.strip(PAD):
        raise DecodeError("a host name is padded elsewhere than at its end")
    return host
