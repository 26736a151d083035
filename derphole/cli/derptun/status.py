"""`status`: the tunnels of this user that run on this machine."""

import json

from derphole.cli.frame.arguments import Arguments
from derphole.cli.frame.output import Output
from derphole.status import Notice
from tunnel.net.clock import wall

USAGE = """\
Say which tunnels of yours run on this machine: what they serve or open, since when, and of each
link whose it is, its path, and the bytes that went over it.

The report goes to standard error; with --json one JSON object goes to standard output.

USAGE:
    derptun status

EXAMPLES:
    derptun status
    derptun status --json | jq '.tunnels[].links[].path'
"""


def run(arguments: Arguments, output: Output) -> int:
    """Say it and return 0."""
    from derphole.derptun.described import status_lines
    from derphole.edges.status_socket import ask_all, runtime_folder

    tunnels = ask_all(runtime_folder(arguments.environ))
    if output.is_json:
        output.payload_line(json.dumps({"tunnels": tunnels}))
        return 0
    lines = list(status_lines(tunnels, wall()))
    for line in lines or ["no tunnel of yours runs on this machine"]:
        output.report(Notice(line))
    return 0
