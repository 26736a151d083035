"""derptun: files of tokens and of revocations, and servers."""

from derphole.errors.base import DerpholeError
from derphole.errors.tokens import TokenError


class TokenFileUnusable(DerpholeError):
    """The file of a token cannot be read or written.

    Args:
        path: of the file.
        reason: the system's words, or ours.
        next_step: what the person can do.
    """

    code = "token-file"
    says = "{path} cannot be used for a token: {reason}"
    next_step = "mend that, or name another file"

    def __init__(self, path: str, reason: str, next_step: str | None = None) -> None:
        super().__init__(path=path, reason=reason, next_step=next_step)


class RevocationsUnusable(DerpholeError):
    """The file of revocations cannot be read or written.

    Args:
        path: of the file.
        reason: the system's words, or what is wrong in it.
    """

    code = "revocations"
    says = "the file of revocations {path} cannot be used: {reason}"
    next_step = "mend it: while it cannot be read, nobody knows which tokens are revoked"

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path=path, reason=reason)
        self.reason = reason


class RegistryUnusable(DerpholeError):
    """The registry of services cannot be read or written.

    Args:
        path: of the file.
        reason: the system's words, or what is wrong in it.
    """

    code = "registry"
    says = "the registry of services {path} cannot be used: {reason}"
    next_step = "mend or remove it, or name another one with --registry"

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path=path, reason=reason)


class ServiceUnknown(DerpholeError):
    """The registry has no service of that name.

    Args:
        name: that was asked for.
        known: the names that there are, or others that are near.
    """

    code = "service-unknown"
    says = "there is no service {name} in the registry[ (it has {known})]"
    next_step = "keep one with `derptun service set NAME`"

    def __init__(self, name: str, known: str | None) -> None:
        super().__init__(name=name, known=known)


class NotOfThisServer(TokenError):
    """A client token belongs to another server.

    Args:
        client_of: the server that it leads to.
        server: the server that was given.
    """

    code = "other-server"
    says = "this client token leads to server {client_of}, and the server token is that of {server}"
    next_step = "use the server token that the client token was made from"

    def __init__(self, client_of: str, server: str) -> None:
        super().__init__(client_of=client_of, server=server)


class ConnectionLost(DerpholeError):
    """The one connection of `connect` ended before its time.

    Args:
        reason: why, in words.
    """

    code = "connection-lost"
    says = "the connection through the tunnel ended before its time: {reason}"
    next_step = "connect once more"

    def __init__(self, reason: str) -> None:
        super().__init__(reason=reason)


class ServerFull(DerpholeError):
    """The server has no place free."""

    code = "server-full"
    says = "the server has as many clients as it takes, or this token as many links"
    next_step = "end one of them, or have the server started with a larger --max-clients"


class ServedElsewhere(DerpholeError):
    """Another process serves with the same token."""

    code = "served-elsewhere"
    says = "another `derptun serve` has this token: one token serves one machine"
    next_step = "end that one, or have it end with --replace; for a second server make a new token"


class ReplacedServer(DerpholeError):
    """Another process took the serving over, as it was told to."""

    code = "server-replaced"
    says = "another `derptun serve` with this token took over"
    next_step = "if that was not intended, look where else the server token is"
