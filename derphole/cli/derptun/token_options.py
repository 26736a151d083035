"""What the commands of tokens share: how long they live, where they go, and the source of a server.

standard output   the token alone, on a line; an empty file of ours behind it is made private
--output FILE     a new file for its owner only
"""

import os
import re
import stat

from derphole.cli.frame import sources
from derphole.cli.frame.arguments import Arguments
from derphole.cli.frame.issuing import local_utc_offset_s
from derphole.cli.frame.output import Output
from derphole.derptun.minting import DAY_S
from derphole.derptun.statuses import TokenMade
from derphole.edges import private_file
from derphole.edges.stdio import reason_text
from derphole.errors import TokenFileUnusable, UsageError
from derphole.status import Notice
from derphole.token.grant import MAX_EXPIRY
from derphole.token.pasted import pasted_token
from derphole.token.text import ServerToken
from derphole.token.typed_times import parse_when
from derphole.token.validity import check_server
from tunnel.net.clock import wall
from tunnel.units import WallTime

OUTPUT_OPTIONS = """\
    --output FILE               Write the token into a new file that only you may read
    --overwrite                 With --output: also in place of a file
"""
DAYS = re.compile(r"[0-9]{1,5}")
STDOUT = 1


def wanted_end(arguments: Arguments) -> WallTime | None:
    """Return what --days or --expires asks for; None for neither; raises `UsageError`."""
    days, when = arguments.text("--days"), arguments.text("--expires")
    if days is not None and when is not None:
        raise UsageError("only one of --days or --expires may be set")
    if days is not None:
        if not DAYS.fullmatch(days) or not int(days):
            raise UsageError(f'invalid --days value "{days}"; use a whole number, at least 1')
        ends_at = wall() + int(days) * DAY_S
        if ends_at > MAX_EXPIRY:
            raise UsageError(f"--days {days} is too long: a token can carry times up to 2106")
        return WallTime(ends_at)
    if when is None:
        return None
    try:
        return parse_when(when, wall(), local_utc_offset_s)
    except UsageError as error:
        raise UsageError(
            f'invalid --expires value "{when}"; use RFC3339, YYYY-MM-DD or a duration such as 90d'
        ) from error


def check_output(arguments: Arguments) -> None:
    """Raise `UsageError` for options about a file where there is none."""
    output = arguments.text("--output")
    if output == "":
        raise UsageError("--output requires the name of a file")
    if arguments.flag("--overwrite") and output is None:
        raise UsageError("--overwrite requires --output FILE")


def server_source(arguments: Arguments, output: Output) -> ServerToken:
    """Return the server token that the command line names; raises `UsageError`, `TokenError`."""
    return check_server(pasted_token(sources.token_text(arguments, output)))


def hand_out(arguments: Arguments, output: Output, text: str, made: TokenMade) -> None:
    """Write a token where it is wanted, and tell of it; raises `TokenFileUnusable`."""
    path = arguments.text("--output")
    if path in (None, "-"):
        _make_private(output)
        output.payload_line(text)
    else:
        try:
            private_file.make(path, f"{text}\n", replaces=arguments.flag("--overwrite"))
        except FileExistsError as error:
            raise TokenFileUnusable(
                path, "it exists already", "choose another name, or use --overwrite"
            ) from error
        except OSError as error:
            raise TokenFileUnusable(path, reason_text(error)) from error
    output.report(made)


def _make_private(output: Output) -> None:
    """Make an empty file of ours behind standard output private: a shell made it for everybody."""
    try:
        status = os.fstat(STDOUT)
    except OSError:
        return
    is_new = stat.S_ISREG(status.st_mode) and not status.st_size
    is_exposed = bool(stat.S_IMODE(status.st_mode) & private_file.FOREIGN_BITS)
    if not is_new or not is_exposed or status.st_uid != os.geteuid():
        return
    try:
        os.fchmod(STDOUT, stat.S_IMODE(status.st_mode) & ~private_file.FOREIGN_BITS)
    except OSError:
        return
    output.report(Notice("the file that the token goes to can be used by you alone from now on"))
