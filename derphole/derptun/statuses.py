"""What only derptun tells: tokens that were made, tunnels that are up or down, ends that near.

Pure.
"""

from collections.abc import Mapping

from derphole.errors import utc_text
from derphole.status import JsonValue, Level, Status
from derphole.token.typed_times import spoken_duration
from tunnel.units import Seconds
from tunnel.values import frozen


@frozen
class TokenMade(Status):
    """A token was made; the token itself goes elsewhere.

    Args:
        role: "server" or "client".
        id: of the server, or of the client token.
        name: of the client token; "" for none.
        expires_at: Unix seconds.
        place: the file it was written to; None for standard output.
    """

    event = "token-made"
    role: str
    id: str
    name: str
    expires_at: int
    place: str | None = None

    @property
    def sentence(self) -> str:
        """What it is, and until when it is good."""
        name = f", name {self.name}" if self.name else ""
        where = f", in {self.place}" if self.place else ""
        return f"{self.role} token {self.id}{name}, good until {utc_text(self.expires_at)}{where}"

    @property
    def keys(self) -> Mapping[str, JsonValue]:
        """The same."""
        return {
            "role": self.role,
            "id": self.id,
            "name": self.name,
            "expires_at": self.expires_at,
            "file": self.place,
            "message": self.sentence,
        }


@frozen
class Serving(Status):
    """Clients can reach the server from now on.

    Args:
        target: where their connections go.
        server: the server's id.
        relay: where they meet it, in words.
        expires_at: of the server token, Unix seconds.
    """

    event = "serving"
    level = Level.QUIET
    target: str
    server: str
    relay: str
    expires_at: int

    @property
    def sentence(self) -> str:
        """What is served, as which server, and until when."""
        return (
            f"serving {self.target} as server {self.server} on {self.relay}, "
            f"until {utc_text(self.expires_at)}"
        )

    @property
    def keys(self) -> Mapping[str, JsonValue]:
        """The same."""
        return {
            "target": self.target,
            "server": self.server,
            "relay": self.relay,
            "expires_at": self.expires_at,
            "message": self.sentence,
        }


@frozen
class EndNears(Status):
    """A token ends soon, and every link with it.

    Args:
        whose: "this server token", "this client token" or whose it is.
        expires_at: Unix seconds.
        left_s: how long it is until then.
        next_step: what to do about it.
    """

    event = "expires-soon"
    whose: str
    expires_at: int
    left_s: Seconds
    next_step: str

    @property
    def sentence(self) -> str:
        """When, and what to do, marked as a warning."""
        return f"warning: {self._text()}"

    @property
    def keys(self) -> Mapping[str, JsonValue]:
        """The same."""
        return {
            "whose": self.whose,
            "expires_at": self.expires_at,
            "left_s": round(self.left_s),
            "message": self._text(),
        }

    def _text(self) -> str:
        return (
            f"{self.whose} ends in {spoken_duration(self.left_s)} "
            f"({utc_text(self.expires_at)}), and its connections with it; {self.next_step}"
        )


@frozen
class TunnelDown(Status):
    """The tunnel leads nowhere; the port stays open.

    Args:
        reason: why, in words.
    """

    event = "tunnel-down"
    reason: str

    @property
    def sentence(self) -> str:
        """Why, and what happens."""
        return f"the tunnel is down: {self.reason}; the port stays open, reconnecting"

    @property
    def keys(self) -> Mapping[str, JsonValue]:
        """Why, and the sentence."""
        return {"reason": self.reason, "message": self.sentence}


@frozen
class TunnelUp(Status):
    """The tunnel leads to the server.

    Args:
        server: the server's id.
        after_s: how long it did not; None for the first time.
    """

    event = "tunnel-up"
    server: str
    after_s: Seconds | None = None

    @property
    def sentence(self) -> str:
        """Where to, and after how long."""
        again = "" if self.after_s is None else f" again after {self.after_s:.0f} s"
        return f"the tunnel to server {self.server} is up{again}"

    @property
    def keys(self) -> Mapping[str, JsonValue]:
        """The same, and the sentence."""
        after_s = None if self.after_s is None else round(self.after_s, 3)
        return {"server": self.server, "after_s": after_s, "message": self.sentence}
