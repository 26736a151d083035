"""`netcheck`: say what this network lets derphole do, and what to do about it."""

import json

from derphole.cli.frame.arguments import Arguments
from derphole.cli.frame.network import network_options
from derphole.cli.frame.options import RELAY_OPTIONS, TRACE_OPTION
from derphole.cli.frame.output import Output
from derphole.errors import RelayTrouble
from derphole.status import Level, Notice

USAGE = f"""\
Check this network: UDP, NAT, port mapping, relays, and whether direct paths will work.

The report goes to standard error; with --json one JSON object goes to standard output.  A port
that the router maps for the test is given back.  The exit code is 0 when a relay was reached.

USAGE:
    derphole netcheck [options]

OPTIONS:
{RELAY_OPTIONS}\
    --force-relay               Only noted in the report
    --udp-port N                Check with this UDP port, as other commands would use it
    --timeout SECONDS           Take at most this long (default 5, and up to 30 where a
                                relay answers slowly; 0: as long as it takes)
{TRACE_OPTION}
EXAMPLES:
    derphole netcheck
    derphole netcheck --json | jq -r .verdict
    derphole netcheck --relay https://relay.example.com
"""


def run(arguments: Arguments, output: Output) -> int:
    """Check, and return 0 when a relay was reached; raises `RelayTrouble` when none was."""
    options = network_options(arguments)

    from derphole.cli.frame.signals import EndingSignals
    from derphole.network import check as netcheck
    from derphole.network.report import as_json, lines
    from derphole.network.verdict import next_step

    with EndingSignals():
        found = netcheck.check(options, output.report)
    if output.is_json:
        output.payload_line(json.dumps(as_json(found)))
    else:
        for line in lines(found):
            output.report(Notice(line))
    if not found.has_relay:
        is_above = not output.is_json and output.level > Level.QUIET
        detail = "the report above says why" if is_above else found.relay_trouble
        raise RelayTrouble(detail, next_step(found))
    return 0
