"""What the port mappers share: what a mapping is, why there is none, leases, epochs, resending.

    IDLE --start--> PROBING --answer--> READY --proceed--> ASKING --granted--> HOLDING
                       +---silence--------+-----refusal------+-------lost---------+--> FAILED
    HOLDING, or what may exist --release--> RELEASING --deleted--> IDLE

Sources: RFC 6886 sections 3.3 to 3.7; RFC 6887 sections 8.5 and 11.2.1.  This module knows no
message.
"""

from collections.abc import Callable, Mapping
from enum import Enum, IntEnum
from ipaddress import ip_address
from math import inf
from typing import Protocol

from tunnel.proto.machine import Clockwork
from tunnel.units import Instant, Seconds
from tunnel.values import frozen

# Chosen: two hours, as other programs ask for; a killed process leaves its mapping that long.
LIFETIME_S = 7200
# Chosen: gateways that only know mappings without an end may still forget them.
PERMANENT_RENEWAL_S = 3600.0
# Chosen: nobody plans ahead further; a lifetime has 32 bits.
MAX_LIFETIME_S = 86400
MIN_RENEWAL_S = 1.0
# Chosen: a gateway is one hop away.  The first wait is the head start before other protocols.
ANSWER_WAITS_S = (0.25, 0.25, 0.5)
# Chosen: below lie the ports of well-known services, and 0 means all of them.
MIN_EXTERNAL_PORT = 1024
PORT_COUNT = 65536


class MappingProtocol(Enum):
    """A way to ask a gateway for a port."""

    PCP = "PCP"
    NAT_PMP = "NAT-PMP"
    UPNP = "UPnP"


class Reason(Enum):
    """Why there is no mapping, in words."""

    SILENT = "nothing answered"
    NOT_OFFERED = "the gateway does not offer it"
    NOT_ALLOWED = "the gateway does not allow it"
    NO_EXTERNAL_ADDRESS = "the gateway has no external address"
    NO_RESOURCES = "the gateway has no room for a mapping, or no public address"
    ANOTHER_NAT = "another NAT lies between this machine and the gateway"
    PORT_TAKEN = "every external port that was tried is taken"
    PORT_UNUSABLE = "the gateway would only map an external port below 1024"
    UNREADABLE = "the gateway's answer could not be read"
    ERROR = "the gateway reported an error"
    EXPIRED = "the mapping could not be renewed in time"
    GATEWAY_RESTARTED = "the gateway restarted and forgot the mapping"
    NETWORK_CHANGED = "this machine's address or its gateway changed"


@frozen
class Failure:
    """Why there is no mapping; `detail` has what the gateway said, printable."""

    reason: Reason
    detail: str = ""

    @property
    def words(self) -> str:
        """The reason as a part of a sentence."""
        return f"{self.reason.value} ({self.detail})" if self.detail else self.reason.value


@frozen
class PortMapping:
    """A port of the gateway that leads to ours.

    Args:
        protocol: how it was made.
        external_ip: the gateway's address on its other side.
        external_port: 1024 to 65535.
        lifetime_s: as granted, None for a permanent one.
    """

    protocol: MappingProtocol
    external_ip: str
    external_port: int
    lifetime_s: int | None

    @property
    def is_public(self) -> bool:
        """Whether the whole internet can reach the address; else yet another NAT is before it."""
        return is_public(self.external_ip)


@frozen
class MappingMade:
    """A mapping exists; it takes the place of the one before."""

    mapping: PortMapping


@frozen
class MappingLost:
    """The mapping that was made does not exist any more."""

    mapping: PortMapping
    failure: Failure


@frozen
class NoMapping:
    """Every protocol was tried in vain; they are tried again later."""

    failures: Mapping[MappingProtocol, Failure]


MappingEvent = MappingMade | MappingLost | NoMapping


class MapperState(Enum):
    """How far one protocol is."""

    IDLE = "idle"
    PROBING = "probing"  # it was asked whether there is such a service
    READY = "ready"  # there is; a mapping may be asked for
    ASKING = "asking"
    HOLDING = "holding"
    FAILED = "failed"
    RELEASING = "releasing"


def is_usable(address: str) -> bool:
    """Tell whether an address can be one that others send to at all."""
    parsed = ip_address(address)
    refused = (parsed.is_unspecified, parsed.is_loopback, parsed.is_multicast, parsed.is_link_local)
    return not any(refused) and not (parsed.version == 4 and parsed.is_reserved)


def is_public(address: str) -> bool:
    """Tell whether an address is neither private nor a carrier's (100.64/10) nor unusable."""
    return is_usable(address) and ip_address(address).is_global


def random_port(entropy: Callable[[int], bytes]) -> int:
    """Return an external port to try, 1024 to 65535."""
    drawn = int.from_bytes(entropy(4), "big")
    return MIN_EXTERNAL_PORT + drawn % (PORT_COUNT - MIN_EXTERNAL_PORT)


def suggested_port(internal_port: int, entropy: Callable[[int], bytes]) -> int:
    """Return the external port to ask for first: our own number where it is allowed."""
    return internal_port if internal_port >= MIN_EXTERNAL_PORT else random_port(entropy)


def result_failure(result: int, reasons: Mapping[IntEnum, Reason]) -> Failure:
    """Return what a result code other than success means."""
    for known, reason in reasons.items():
        if known == result:
            return Failure(reason, f"result {result}, {known.name.lower().replace('_', ' ')}")
    return Failure(Reason.ERROR, f"result {result}")


class Lease:
    """When a mapping ends and when to renew it: at half of its life, then at half of what is left.

    Args:
        now: when it was granted.
        lifetime_s: for how long, None for ever.
    """

    __slots__ = ("expires_at", "renew_at")

    def __init__(self, now: Instant, lifetime_s: int | None) -> None:
        if lifetime_s is None:
            self.expires_at = Instant(inf)
            self.renew_at = Instant(now + PERMANENT_RENEWAL_S)
            return
        life_s = min(lifetime_s, MAX_LIFETIME_S)
        self.expires_at = Instant(now + life_s)
        self.renew_at = Instant(now + life_s / 2)

    def postpone(self, now: Instant) -> None:
        """Try again later: a renewal was not answered."""
        left_s = min(self.expires_at - now, 2 * PERMANENT_RENEWAL_S)
        self.renew_at = Instant(now + max(MIN_RENEWAL_S, left_s / 2))

    def next_timeout(self) -> Instant:
        """Return when to renew or to give up."""
        return min(self.renew_at, self.expires_at)


class EpochWatch:
    """Finds out from a gateway's count of seconds whether it lost its mappings.

    Args:
        tolerance_s: how far behind the count may be.
        drift: how much of the time passed the count may miss, as a share.
    """

    __slots__ = ("_drift", "_last", "_tolerance_s")

    def __init__(self, tolerance_s: Seconds, drift: float) -> None:
        self._tolerance_s = tolerance_s
        self._drift = drift
        self._last: tuple[Instant, int] | None = None

    def note(self, now: Instant, epoch_s: int) -> bool:
        """Take the count of an answer; tell whether the gateway started anew since the last."""
        last, self._last = self._last, (now, epoch_s)
        if last is None:
            return False
        expected_s = last[1] + (now - last[0]) * (1 - self._drift)
        return epoch_s < expected_s - self._tolerance_s

    def forget(self) -> None:
        """Start anew: the next answer may come from another gateway."""
        self._last = None


class Exchange:
    """One datagram that is repeated until it is answered, and then given up."""

    __slots__ = ("_attempt", "_data", "_due_at", "_outbox")

    def __init__(self) -> None:
        self._data: bytes | None = None
        self._attempt = 0
        self._due_at = Instant(inf)
        self._outbox: list[bytes] = []

    @property
    def is_running(self) -> bool:
        """Whether an answer is awaited."""
        return self._data is not None

    def start(self, now: Instant, data: bytes) -> None:
        """Send `data`, instead of what was sent before."""
        self._data = data
        self._attempt = 0
        self._due_at = Instant(now + ANSWER_WAITS_S[0])
        self._outbox = [data]

    def send_once(self, data: bytes) -> None:
        """Send something whose answer is welcome and not awaited."""
        self._outbox.append(data)

    def stop(self) -> None:
        """Await nothing any more."""
        self._data = None
        self._due_at = Instant(inf)

    def handle_timeout(self, now: Instant) -> bool:
        """Repeat what is due; tell whether it was given up just now."""
        if self._data is None or now < self._due_at:
            return False
        self._attempt += 1
        if self._attempt == len(ANSWER_WAITS_S):
            self.stop()
            return True
        self._due_at = Instant(now + ANSWER_WAITS_S[self._attempt])
        self._outbox.append(self._data)
        return False

    def next_timeout(self) -> Instant:
        """Return when `handle_timeout` is due."""
        return self._due_at

    def datagrams_to_send(self) -> list[bytes]:
        """Take what is to be sent."""
        outbox, self._outbox = self._outbox, []
        return outbox


class MapperStatus:
    """How far one protocol is, what it holds, and what it lost."""

    __slots__ = ("_loss", "failure", "lease", "mapping", "seen_at", "state")

    def __init__(self) -> None:
        self.state = MapperState.IDLE
        self.mapping: PortMapping | None = None
        self.lease: Lease | None = None
        self.failure: Failure | None = None
        self.seen_at: Instant | None = None
        self._loss: Failure | None = None

    def hold(self, now: Instant, mapping: PortMapping) -> None:
        """Note a mapping that was granted or renewed now."""
        self.state = MapperState.HOLDING
        self.mapping = mapping
        self.lease = Lease(now, mapping.lifetime_s)
        self.failure = None

    def fail(self, failure: Failure) -> None:
        """Note that there is no mapping, and none any more if there was one."""
        if self.mapping is not None:
            self._loss = failure
        self.drop(MapperState.FAILED)
        self.failure = failure

    def drop(self, state: MapperState) -> None:
        """Hold nothing any more, on purpose."""
        self.state = state
        self.mapping = None
        self.lease = None

    def note_restart(self) -> None:
        """Note that the gateway forgot the mapping, which may be made again already."""
        if self.mapping is not None:
            self._loss = Failure(Reason.GATEWAY_RESTARTED)

    def take_loss(self) -> Failure | None:
        """Return, once, why a mapping was lost."""
        loss, self._loss = self._loss, None
        return loss


class Mapper(Clockwork, Protocol):
    """One protocol's way to one mapping, as the machine that chooses among them sees it."""

    status: MapperStatus
    head_start_ends_at: Instant  # until then other protocols wait for it

    @property
    def protocol(self) -> MappingProtocol:
        """Which protocol it speaks."""

    def start(self, now: Instant) -> None:
        """Find out whether there is such a service."""

    def proceed(self, now: Instant) -> None:
        """Ask for the mapping, once there is."""

    def renew(self, now: Instant) -> None:
        """Ask for the mapping that is held once more."""

    def stand_down(self) -> None:
        """Stop: another protocol holds a mapping."""

    def release(self, now: Instant) -> None:
        """Delete whatever may exist."""

    def next_timeout(self) -> Instant:
        """Return when `handle_timeout` is due; infinity for never."""
