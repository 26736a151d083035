"""`open`: a local port whose connections lead to what the other side shares."""

import re
from contextlib import suppress

from derphole.cli.frame import sources
from derphole.cli.frame.arguments import Arguments
from derphole.cli.frame.network import network_options
from derphole.cli.frame.options import CLAIMER_OPTIONS, SOURCE_OPTIONS
from derphole.cli.frame.output import Output
from derphole.errors import Interrupted
from derphole.forwarding.endpoints import DEFAULT_BIND, parse_bind
from derphole.token.grant import Capability
from derphole.token.pasted import has_token_or_code, pasted_token_or_code
from derphole.token.validity import check_token_or_code
from tunnel.net.clock import wall
from tunnel.values import replace

USAGE = f"""\
Open a local port that leads to the service that the other machine shares.

The port is opened before the token is used and stays open through outages: the command reconnects
by itself for as long as `share` runs on the other machine.  Ctrl-C ends it; SIGUSR1 makes it
reconnect at once, as does SIGHUP where no terminal is gone by it.

USAGE:
    derphole open [options] [--] [TOKEN] [BIND]

ARGUMENTS:
    TOKEN               Token or code that `derphole share` printed (default: the variable
                        DERPHOLE_TOKEN)
    BIND                Where to listen: HOST:PORT, PORT, unix:PATH, or :PORT for every address
                        of this machine (default {DEFAULT_BIND}: any free port)

OPTIONS:
{SOURCE_OPTIONS}\
{CLAIMER_OPTIONS}
EXAMPLES:
    derphole open TOKEN
    derphole open TOKEN 127.0.0.1:8080
    derphole open --token-file token.txt unix:/tmp/service.sock
"""

# A port or something with a colon that is no URL.
BIND_ALONE = re.compile(r"[0-9]{1,5}|(?!.*://).*:.*")


def run(arguments: Arguments, output: Output) -> int:
    """Serve the port until a signal, and return 0."""
    options = network_options(arguments)
    arguments = _told_apart(arguments)
    where = parse_bind(arguments.text("BIND") or DEFAULT_BIND)
    token = pasted_token_or_code(sources.token_text(arguments, output))
    session = check_token_or_code(token, Capability.SHARE, wall())

    from derphole.cli.frame.file_limit import raise_file_limit
    from derphole.cli.frame.signals import EndingSignals
    from derphole.forwarding.bind import bound, reachable_from_elsewhere
    from derphole.forwarding.limits import MOST_CONNECTIONS
    from derphole.forwarding.opening import Opening

    raise_file_limit(MOST_CONNECTIONS)
    # A command that a person ends on purpose has not failed.
    with suppress(Interrupted), bound(where) as listener:
        if not where.is_loopback:
            output.report(reachable_from_elsewhere(where))
        opening = Opening(options, session, listener, output.report)
        with EndingSignals(on_request=opening.reconnect):
            opening.run()
    return 0


def _told_apart(arguments: Arguments) -> Arguments:
    """Tell TOKEN from BIND where only one of them is given, or the second one first."""
    first, second = arguments.text("TOKEN"), arguments.text("BIND")
    if first is None or has_token_or_code(first):
        return arguments
    is_swapped = second is not None and has_token_or_code(second)
    if not is_swapped and (second is not None or not BIND_ALONE.fullmatch(first)):
        return arguments
    return replace(arguments, values={**arguments.values, "TOKEN": second, "BIND": first})
