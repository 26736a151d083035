"""Relays that cannot be used, and the relay of our own that cannot run."""

from derphole.errors.base import DerpholeError
from tunnel.units import Seconds

# What helps where the public relays cannot be reached.
OWN_RELAY_STEP = (
    "run `derphole relay` on a machine that both sides reach, and name it with --relay or "
    "DERPHOLE_RELAY"
)


class RelayTrouble(DerpholeError):
    """No relay could be used.

    Args:
        detail: which relay, and what it did.
        next_step: what the person can do, where it is known better.
    """

    code = "relay"
    says = "no relay could be used: {detail}"
    next_step = "check the network, the proxy variables, --relay and --derp-map"

    def __init__(self, detail: str, next_step: str | None = None) -> None:
        super().__init__(detail=detail, next_step=next_step)
        self.detail = detail


class NoRelayTakesUs(RelayTrouble):
    """Every relay answers what does not pass by itself.

    Args:
        detail: which relay, and what it answered.
        after_s: how long that lasted.
    """

    code = "relay-refused"
    next_step = (
        "this does not pass by itself and was given up after {after_s} s: have the relay changed, "
        "or use another one (--timeout 0 keeps trying)"
    )

    def __init__(self, detail: str, after_s: Seconds) -> None:
        DerpholeError.__init__(self, detail=detail, after_s=f"{after_s:.0f}")
        self.detail = detail


class RelayNotStarted(DerpholeError):
    """The relay of `derphole relay` could not start.

    Args:
        detail: what is in the way.
        next_step: what the person can do.
    """

    code = "relay-not-started"
    says = "the relay cannot start: {detail}"
    next_step = "correct the options of `derphole relay`"

    def __init__(self, detail: str, next_step: str | None = None) -> None:
        super().__init__(detail=detail, next_step=next_step)


class KeyFileUnusable(DerpholeError):
    """The relay's key file could not be used.

    Args:
        detail: which file, and what is wrong with it.
        next_step: what the person can do.
    """

    code = "key-file"
    says = "{detail}"
    next_step = "name another file with --key-file; one that does not exist is made"

    def __init__(self, detail: str, next_step: str | None = None) -> None:
        super().__init__(detail=detail, next_step=next_step)
