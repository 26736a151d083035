"""What a person is told of access by ssh.  Pure."""

from collections.abc import Mapping

from derphole.ssh.login import Login
from derphole.ssh.public_key import PublicKey
from derphole.status import JsonValue, Level, Status
from tunnel.values import frozen


@frozen
class KeyShown(Status):
    """The key that is handed over.

    Args:
        key: it.
        verb: what is done with it, such as "sending".
    """

    event = "key"
    level = Level.QUIET  # a person may be asked about it
    key: PublicKey
    verb: str

    @property
    def sentence(self) -> str:
        """Type, length, fingerprint, and the comment last: it may say anything."""
        kind = self.key.type.removeprefix("ssh-").partition("@")[0]
        quoted = self.key.comment.replace('"', "'")
        comment = f', comment "{quoted}"' if quoted else ""
        return f"{self.verb} {kind} key {self.key.fingerprint}, {self.key.bits} bits{comment}"

    @property
    def keys(self) -> Mapping[str, JsonValue]:
        """The same, one by one."""
        return {
            "type": self.key.type,
            "bits": self.key.bits,
            "fingerprint": self.key.fingerprint,
            "comment": self.key.comment,
        }


@frozen
class KeyKept(Status):
    """What became of the key on the side that lets in.

    Args:
        path: of the file.
        user: who can log in.
        is_new: whether it was added; else it was there.
        is_restricted: whether it was there behind options, which go on to hold.
    """

    event = "key-kept"
    level = Level.QUIET
    path: str
    user: str
    is_new: bool
    is_restricted: bool = False

    @property
    def sentence(self) -> str:
        """In words."""
        if self.is_restricted:
            return (
                f"the key was in {self.path} already, behind options, which go on to restrict it; "
                "remove that line there to lift them"
            )
        verb = "was added to" if self.is_new else "was in"
        already = "" if self.is_new else " already"
        return f"the key {verb} {self.path}{already}, for {self.user}"

    @property
    def keys(self) -> Mapping[str, JsonValue]:
        """The same, one by one."""
        return {
            "path": self.path,
            "user": self.user,
            "is_new": self.is_new,
            "is_restricted": self.is_restricted,
            "message": self.sentence,
        }


@frozen
class LoginTold(Status):
    """How to log in on the other side, for programs; people read its lines."""

    event = "login"
    level = Level.QUIET
    login: Login
    spoken: str

    @property
    def sentence(self) -> str:
        """The command."""
        return f"log in with: {self.login.command}"

    @property
    def keys(self) -> Mapping[str, JsonValue]:
        """Everything, one by one."""
        login = self.login
        return {
            "command": login.command,
            "user": login.user,
            "host": login.host,
            "port": login.port,
            "known_hosts": list(login.known_hosts),
            "config": "\n".join(login.block),
            "tunnel": None if login.is_reached else list(login.tunnel(self.spoken)),
        }
