"""`token revoke`: a client token is good no more."""

import re
from collections.abc import Mapping
from pathlib import Path

from derphole.cli.derptun import token_options
from derphole.cli.frame.arguments import Arguments
from derphole.cli.frame.options import SOURCE_OPTIONS
from derphole.cli.frame.output import Output
from derphole.cli.frame.sources import MAX_TOKEN_FILE_SIZE
from derphole.derptun.minting import id_of_key, server_id
from derphole.derptun.revocations import (
    MAX_FILE_SIZE,
    RevocationsUnreadable,
    parse_revocations,
    with_revocation,
)
from derphole.edges import private_file
from derphole.edges.status_socket import ask_all, runtime_folder
from derphole.edges.stdio import reason_text
from derphole.errors import NotOfThisServer, RevocationsUnusable, TokenFileUnusable, UsageError
from derphole.status import Notice
from derphole.token.grant import GRANT_ID_SIZE
from derphole.token.pasted import has_token, pasted_token
from derphole.token.text import ClientToken, ServerToken
from derphole.token.validity import check_client
from tunnel.net.clock import wall
from tunnel.units import WallTime

USAGE = f"""\
Revoke a client token: its links end, and it lets nobody in any more.

A running `derptun serve` reads the file again by itself, within seconds; it takes the same file
when it was started with the same --token-file.

USAGE:
    derptun token revoke [options] [--] CLIENT

ARGUMENTS:
    CLIENT              Id of the client token, a file that holds it, or the name of one that
                        is connected to a server here now

OPTIONS:
{SOURCE_OPTIONS}\
    --revoked FILE              The file of revocations (default: that of --token-file, with
                                .revoked behind its name)

EXAMPLES:
    derptun token revoke --token-file server.dts 3f9a0c1122334455
    derptun token revoke --token-file server.dts laptop.dtc
"""

ID = re.compile(rf"[0-9A-Fa-f]{{{2 * GRANT_ID_SIZE}}}")
SUFFIX = ".revoked"


def run(arguments: Arguments, output: Output) -> int:
    """Revoke it and return 0."""
    path = revocations_path(arguments)
    if path is None:
        raise UsageError("--revoked FILE is required where no --token-file is given")
    server = token_options.server_source(arguments, output)
    grant_id, name = _client(arguments.text("CLIENT") or "", server, arguments.environ)
    is_new = _revoke(path, grant_id, name)
    what = f"client token {grant_id.hex()}" + (f" ({name})" if name else "")
    if is_new:
        output.report(Notice(f"{what} is revoked, in {path}"))
    else:
        output.report(Notice(f"{what} was revoked before, in {path}"))
    return 0


def revocations_path(arguments: Arguments) -> str | None:
    """Return the file of revocations; None where no option names one."""
    path, token_file = arguments.text("--revoked"), arguments.text("--token-file")
    if path == "":
        raise UsageError("--revoked requires the name of a file")
    return path or (f"{token_file}{SUFFIX}" if token_file else None)


def _client(text: str, server: ServerToken, environ: Mapping[str, str]) -> tuple[bytes, str]:
    """Return id and name of the token that is meant."""
    if ID.fullmatch(text):
        if text.lower() == server_id(server):
            raise UsageError(f"{text} is the id of the server, not of a client", shows_help=False)
        return bytes.fromhex(text), ""
    if not has_token(text):
        if not _exists(text):
            return bytes.fromhex(_connected(text, server, environ)), text
        try:
            text = private_file.read_text(text, MAX_TOKEN_FILE_SIZE).text
        except OSError as error:
            raise TokenFileUnusable(text, reason_text(error)) from error
    token = pasted_token(text)
    # An expired one may be revoked as well.
    client = token if isinstance(token, ClientToken) else check_client(token, WallTime(wall()))
    if id_of_key(client.issuer_derp) != server_id(server):
        raise NotOfThisServer(id_of_key(client.issuer_derp), server_id(server))
    return client.grant.id, client.grant.name


def _connected(name: str, server: ServerToken, environ: Mapping[str, str]) -> str:
    """Return the id of the one token with a name that is connected here; raises `UsageError`."""
    ids = {
        str(link.get("id"))
        for tunnel in ask_all(runtime_folder(environ))
        if tunnel.get("server") == server_id(server)
        for link in (tunnel.get("links") or ())  # type: ignore[attr-defined]
        if link.get("token") == name
    }
    if len(ids) == 1:
        return ids.pop()
    several = f"; {len(ids)} tokens of that name are connected: {', '.join(sorted(ids))}"
    raise UsageError(
        f'"{name}" is neither the id of a client token, which has 16 hexadecimal digits, nor a '
        f"file, nor the name of one token that is connected here{several if ids else ''}",
        shows_help=False,
    )


def _exists(path: str) -> bool:
    """Tell whether something has a path, which may be no path at all."""
    try:
        return Path(path).exists()
    except (OSError, ValueError):
        return False


def _revoke(path: str, grant_id: bytes, name: str) -> bool:
    """Add an id to the file; returns whether it is new there."""
    is_new: list[bool] = []

    def changed(text: str) -> str:
        is_new.append(grant_id not in parse_revocations(text))
        return with_revocation(text, grant_id, name) if is_new[0] else text

    try:
        private_file.change(path, MAX_FILE_SIZE, changed, is_secret=False)
    except RevocationsUnreadable as error:
        raise RevocationsUnusable(path, str(error)) from error
    except OSError as error:
        raise RevocationsUnusable(path, reason_text(error)) from error
    return is_new[0]
