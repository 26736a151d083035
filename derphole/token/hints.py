"""Relay hints: where the two sides of a token meet.

    regions    0x00-0x03: how many | region id u16 LE, each
    own relay  0x80 + flags | port u16 LE | STUN port u16 LE (0: off) | host length u8 | host
               | other length u8 | other, if any | pin 16, if any
               flags: 0x01 TLS, 0x02 pin (only with TLS), 0x04 plain hosts, 0x08 another host
    own relays 0x42-0x43: 0x40 + how many | own relay, each; in tokens that live in files
    host       three characters in two bytes (u16 LE, base 40, the first character counts most);
               the last three are filled up with pads.  Plain where a character has no digit

Packing keeps a token whose own relay has a name of 100 characters under 320 characters.  Source:
docs/protocol.md, section "Tokens and grants".  Pure; knows nothing about how a relay is reached.
"""

from tunnel.errors import DecodeError
from tunnel.values import frozen
from tunnel.wire.reader import Reader

# Fixed by the protocol.
MAX_REGIONS = 3
MAX_HOST_SIZE = 253  # the longest DNS name
PIN_SIZE = 16  # the first half of the SHA-256 of the public key
MAX_OWN_RELAYS = 3
OWN_RELAYS = 0x40
OWN_RELAY = 0x80
FLAG_TLS = 0x01
FLAG_PIN = 0x02
FLAG_PLAIN = 0x04
FLAG_OTHER = 0x08
PAD = "\0"
HOST_ALPHABET = PAD + "abcdefghijklmnopqrstuvwxyz0123456789.-:"
PLAIN_ALPHABET = (
    HOST_ALPHABET[1:] + "_%" + HOST_ALPHABET[1:27].upper()
)  # zones have names in any case
BASE = len(HOST_ALPHABET)
GROUP_LETTERS = 3
GROUP_SIZE = 2


@frozen
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


@frozen
class OwnRelay:
    """A relay that is not on the public map.

    Args:
        host: DNS name or IP address without brackets; kept in lower case, but for a zone.
        port: TCP port.
        stun_port: UDP port of its STUN server; 0 when it has none.
        tls: whether it speaks TLS.
        pin: first 16 bytes of the SHA-256 of its public key, when no public authority vouches
            for it; needs `tls`.
        other: another address of the same relay, such as that of the other family; "" for none.

    Raises `ValueError` for values that no token can carry.
    """

    host: str
    port: int
    stun_port: int = 0
    tls: bool = True
    pin: bytes | None = None
    other: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "host", _checked_host(self.host))
        if self.other:
            object.__setattr__(self, "other", _checked_host(self.other))
        if not 0 < self.port <= 0xFFFF or not 0 <= self.stun_port <= 0xFFFF:
            raise ValueError("a port must be 1 to 65535")
        if self.pin is not None and (len(self.pin) != PIN_SIZE or not self.tls):
            raise ValueError(f"a pin has {PIN_SIZE} bytes and needs TLS")


def _checked_host(host: str) -> str:
    """Return a host as tokens carry it; raises `ValueError`."""
    name, percent, zone = host.partition("%")
    host = f"{name.lower()}{percent}{zone}"
    if not 0 < len(host) <= MAX_HOST_SIZE:
        raise ValueError(f"a relay's host name must have 1 to {MAX_HOST_SIZE} characters")
    if set(host) - set(PLAIN_ALPHABET):
        raise ValueError(
            f"the relay's host name {host!r} has characters that no token can carry; "
            "use letters a-z, digits, '.', '-', '_' and ':'"
        )
    return host


@frozen
class OwnRelays:
    """Several relays that are not on the public map, so that one that is lost is no lost tunnel.

    Args:
        relays: two or three, best first, none twice.

    Raises `ValueError` for another number of them.
    """

    relays: tuple[OwnRelay, ...]

    def __post_init__(self) -> None:
        if not 1 < len(self.relays) <= MAX_OWN_RELAYS:
            raise ValueError(f"a token carries at most {MAX_OWN_RELAYS} relays")
        if len(set(self.relays)) != len(self.relays):
            raise ValueError("a relay is in the hints twice")


RelayHints = RegionHints | OwnRelay | OwnRelays


def own_relays(hints: RelayHints) -> tuple[OwnRelay, ...]:
    """Return the relays that hints carry themselves; none for regions of the public map."""
    match hints:
        case OwnRelays(relays):
            return relays
        case OwnRelay():
            return (hints,)
        case RegionHints():
            return ()


def encode_hints(hints: RelayHints) -> bytes:
    """Return the bytes of relay hints."""
    match hints:
        case RegionHints(ids):
            data = b"".join(region.to_bytes(2, "little") for region in ids)
            return bytes([len(ids)]) + data
        case OwnRelays(relays):
            return bytes([OWN_RELAYS | len(relays)]) + b"".join(map(_encode_own_relay, relays))
        case OwnRelay():
            return _encode_own_relay(hints)


def _encode_own_relay(hints: OwnRelay) -> bytes:
    hosts = [hints.host, hints.other] if hints.other else [hints.host]
    is_plain = bool(set("".join(hosts)) - set(HOST_ALPHABET[1:]))
    flags = OWN_RELAY | (FLAG_TLS if hints.tls else 0) | (FLAG_PIN if hints.pin else 0)
    flags |= (FLAG_PLAIN if is_plain else 0) | (FLAG_OTHER if hints.other else 0)
    ports = hints.port.to_bytes(2, "little") + hints.stun_port.to_bytes(2, "little")
    encoded = [
        bytes([len(host)]) + (host.encode("ascii") if is_plain else pack_host(host))
        for host in hosts
    ]
    return b"".join((bytes([flags]), ports, *encoded, hints.pin or b""))


def decode_hints(reader: Reader) -> RelayHints:
    """Read relay hints; raises `DecodeError` for bytes that `encode_hints` never makes."""
    kind = reader.uint(1)
    try:
        if kind <= MAX_REGIONS:
            return RegionHints(tuple(reader.uint(2) for _ in range(kind)))
        if OWN_RELAYS + 1 < kind <= OWN_RELAYS + MAX_OWN_RELAYS:
            count = kind - OWN_RELAYS
            return OwnRelays(tuple(_read_own_relay(reader, reader.uint(1)) for _ in range(count)))
        return _read_own_relay(reader, kind)
    except ValueError as error:
        raise DecodeError(str(error)) from error


def _read_own_relay(reader: Reader, flags: int) -> OwnRelay:
    if flags & ~(FLAG_TLS | FLAG_PIN | FLAG_PLAIN | FLAG_OTHER) != OWN_RELAY:
        raise DecodeError(f"relay hints of an unknown kind {flags:#04x}")
    port, stun_port = reader.uint(2), reader.uint(2)
    is_plain, has_other = bool(flags & FLAG_PLAIN), bool(flags & FLAG_OTHER)
    host = _read_host(reader, is_plain)
    other = _read_host(reader, is_plain) if has_other else ""
    pin = reader.bytes(PIN_SIZE) if flags & FLAG_PIN else None
    hints = OwnRelay(host, port, stun_port, bool(flags & FLAG_TLS), pin, other)
    if is_plain and not set(host + other) - set(HOST_ALPHABET[1:]):
        raise DecodeError("relay hints with hosts that are plain without need")
    if (hints.host, hints.other) != (host, other) or (has_other and not other):
        raise DecodeError("relay hints with a host that is not as tokens carry it")
    return hints


def _read_host(reader: Reader, is_plain: bool) -> str:
    length = reader.uint(1)
    if not is_plain:
        return unpack_host(reader.bytes(packed_size(length)), length)
    try:
        return reader.bytes(length).decode("ascii")
    except UnicodeDecodeError as error:
        raise DecodeError("a host name beyond ASCII") from error


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
