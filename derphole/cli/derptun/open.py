"""`open`: a local port whose connections lead to what a server serves, for months."""

from contextlib import suppress

from derphole.cli.derptun.client_source import SERVICE_OPTION, client_source
from derphole.cli.frame.arguments import Arguments
from derphole.cli.frame.network import network_options
from derphole.cli.frame.options import ISSUER_OPTIONS, SOURCE_OPTIONS
from derphole.cli.frame.output import Output
from derphole.errors import Interrupted
from derphole.forwarding.endpoints import DEFAULT_BIND, parse_bind
from tunnel.values import replace

USAGE = f"""\
Open a local port that leads to what the server serves.

The port stays open whatever happens: the server may be started later, restarted or moved, and
either network may be away.  A connection that is made meanwhile waits for ten seconds, and is then
reset.  Ctrl-C ends it; SIGUSR1 makes it reconnect at once, as does SIGHUP where no terminal is gone
by it.

USAGE:
    derptun open [options] [--] [TOKEN]

ARGUMENTS:
    TOKEN               A client token (default: the variable DERPTUN_TOKEN)

OPTIONS:
{SOURCE_OPTIONS}\
{SERVICE_OPTION}\
    --listen BIND               Where to listen: HOST:PORT, PORT, unix:PATH, or :PORT for every
                                address of this machine (default {DEFAULT_BIND}: any free port)
{ISSUER_OPTIONS}
EXAMPLES:
    derptun open --token-file client.dtc --listen 127.0.0.1:2222
    derptun open TOKEN
"""


def run(arguments: Arguments, output: Output) -> int:
    """Serve the port until a signal, and return 0."""
    options = network_options(arguments)
    options = replace(options, is_patient=options.timeout_s is None)  # a machine may boot
    where = parse_bind(arguments.text("--listen") or DEFAULT_BIND)
    token = client_source(arguments, output)

    from derphole.cli.frame.file_limit import raise_file_limit
    from derphole.cli.frame.signals import EndingSignals
    from derphole.derptun.opening import TunnelOpening
    from derphole.edges.status_socket import runtime_folder, told
    from derphole.forwarding.bind import bound, reachable_from_elsewhere
    from derphole.forwarding.limits import MOST_CONNECTIONS

    raise_file_limit(MOST_CONNECTIONS)
    # A command that a person ends on purpose has not failed.
    with suppress(Interrupted), bound(where) as listener:
        if not where.is_loopback:
            output.report(reachable_from_elsewhere(where))
        opening = TunnelOpening(options, token, listener, output.report)
        folder = runtime_folder(arguments.environ)
        with EndingSignals(on_request=opening.reconnect), told(folder, opening.describe):
            opening.run()
    return 0
