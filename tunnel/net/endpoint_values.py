"""What an endpoint is given, and what it tells: the values of `tunnel.net.endpoint`."""

from collections.abc import Callable
from dataclasses import field

from tunnel.crypto.keys import DerpKey, NoiseKey
from tunnel.errors import RelayError, TunnelError
from tunnel.net.direct import DirectNews
from tunnel.net.link import Link
from tunnel.net.relay_client.connection import RelayState
from tunnel.net.relay_client.dial import DialOptions
from tunnel.proto.link.events import (
    LinkResumed,
    LinkStalled,
    PathAnswered,
    PathChanged,
    PeerOffered,
)
from tunnel.proto.link.parameters import NO_FEATURE, Feature
from tunnel.proto.meeting.owner import (
    ACCEPTED,
    HEADER_SIZE,
    CodeAnswered,
    CodeFailed,
    Declined,
    HeaderMaker,
    Named,
    NotHere,
    NotUnderstood,
    OtherVersionClaimed,
    Refused,
)
from tunnel.units import Instant, Seconds, WallTime
from tunnel.values import frozen, frozen_secret
from tunnel.wire.derpmap import RelayNode, RelayRegion

ONE_HEADER = bytes(HEADER_SIZE)  # of claims to a `OneSecret`
# Waits until a condition holds and tells whether it did; it may give up, and may raise.
Wait = Callable[[Callable[[], object]], bool]


@frozen
class EndpointOptions:
    """How an endpoint behaves.

    Args:
        is_relay_only: whether to keep to the relay; it holds for both sides.
        udp_port: of direct paths, where a router forwards one; 0 for any.
        program: name and version of the program, for people on the other side, at most 24 bytes.
        give_up_after_s: silence after which a link is over, once something is unanswered.
        renew_after_s: silence after which a claimer asks whether the issuer holds its link still,
            and gets another one if it does not; None for never.
        has_datagrams: whether streams carry datagrams too; the other side must know of it.
    """

    is_relay_only: bool = False
    program: bytes = b""
    udp_port: int = 0
    give_up_after_s: Seconds = 60.0
    renew_after_s: Seconds | None = None
    has_datagrams: bool = False

    @property
    def features(self) -> Feature:
        """What this side wants, and requires the other side to know."""
        relay_only = Feature.RELAY_ONLY if self.is_relay_only else NO_FEATURE
        return relay_only | (Feature.DATAGRAMS if self.has_datagrams else NO_FEATURE)


DEFAULT_OPTIONS = EndpointOptions()


@frozen
class Relays:
    """Where two sides meet.

    Args:
        regions: at least one, the best first.
        dial: how to reach them.
        is_public: whether they are public ones, where one does not take what one can get.
    """

    regions: tuple[RelayRegion, ...]
    dial: DialOptions = field(default_factory=DialOptions)
    is_public: bool = False


@frozen_secret
class Invitation:
    """What a claimer was given.

    Args:
        issuer_noise: the issuer's static Noise key.
        issuer_derp: the issuer's DERP key.
        header: makes the 64 bytes that name what was granted.
        secret: the 16 bytes that prove it.
    """

    issuer_noise: NoiseKey
    issuer_derp: DerpKey
    header: HeaderMaker
    secret: bytes

    def __repr__(self) -> str:
        return "<Invitation>"


class OneSecret:
    """A gate for programs that share one secret and need no more: whoever has it may come.

    Args:
        secret: 16 secret bytes.
    """

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def __repr__(self) -> str:
        return "<OneSecret>"

    def invitation(self, noise: NoiseKey, derp: DerpKey) -> Invitation:
        """Return what lets somebody come to the issuer with these public keys."""
        return Invitation(noise, derp, lambda _: ONE_HEADER, self._secret)

    def named(self, header: bytes, ephemeral: bytes) -> Named | None:
        """Return what the one header names."""
        del ephemeral
        return Named(header, self._secret) if header == ONE_HEADER else None

    def verdict(self, header: bytes, instance: bytes | None, wall: WallTime) -> int:
        """Let everybody in who has the secret, at any time."""
        del header, instance, wall
        return ACCEPTED


@frozen
class RelayStatus:
    """How one relay connection is.

    Args:
        number: its place among the relays of the endpoint.
        region: whose nodes are tried.
        node: the node in use or tried last; None before the first attempt.
        state: see `RelayState`.
        error: why it is not connected, a sentence; None while connected.
        refused_since: since when every node answers what does not pass by itself or, before any of
            them worked, is no relay; None else.
        leaf_pin: 16-byte pin of its certificate's key, if that is not publicly trusted.
        step: how far an attempt has come, in words; None while none is under way.
        round_trip_s: how long it took to answer when we connected last; None before.
    """

    number: int
    region: RelayRegion
    node: RelayNode | None
    state: RelayState
    error: RelayError | None
    refused_since: Instant | None
    leaf_pin: bytes | None
    step: str | None = None
    round_trip_s: Seconds | None = None


@frozen
class LinkArrived:
    """A link may be used; `accept_link`, `claim` or `resume` returns it.

    Args:
        link: the link.
        instance: the id of the process at its other end, as an issuer is told.
        is_proven: whether it proved to be that process.
        header: of its claim, which names what was granted.
    """

    link: Link
    instance: bytes = b""
    is_proven: bool = False
    header: bytes = b""


@frozen
class LinkTold:
    """A link stalled, was heard again, learned of paths, or sends by another from now on."""

    link: Link
    news: LinkStalled | LinkResumed | PathChanged | PathAnswered | PeerOffered


@frozen
class LinkOver:
    """A link has ended; `link.end` tells why."""

    link: Link


@frozen
class RelayChanged:
    """A relay connection came, went, or failed for another reason than before."""

    relay: RelayStatus


EndpointEvent = (
    LinkArrived
    | LinkTold
    | LinkOver
    | RelayChanged
    | DirectNews
    | Declined
    | OtherVersionClaimed
    | Refused
    | NotUnderstood
    | NotHere
    | CodeAnswered
    | CodeFailed
)


class CodeRefused(TunnelError):
    """A code led to nothing.

    Args:
        failed: why, and whether a guess may be gone; None when `wait` gave up.
    """

    def __init__(self, failed: CodeFailed | None) -> None:
        super().__init__(f"the code led to nothing: {failed or 'no answer came in time'}")
        self.failed = failed


class NotAdmitted(TunnelError):
    """The issuer does not let us in.

    Args:
        answer: what it said; None when it did not answer before `wait` gave up.
    """

    def __init__(self, answer: Refused | NotUnderstood | None) -> None:
        super().__init__(f"the issuer did not let us in: {answer or 'it did not answer in time'}")
        self.answer = answer
