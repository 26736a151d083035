"""`version`: one line on standard output.  Imports nothing that takes time."""

import json

from derphole import __version__
from derphole.cli.frame.arguments import Arguments
from derphole.cli.frame.output import Output

USAGE = """\
Print the version of this program.

USAGE:
    derphole version

EXAMPLES:
    derphole version
    derphole version --json
"""


def run(arguments: Arguments, output: Output) -> int:
    """Print the version."""
    version = f"v{__version__}"
    if output.is_json:
        version = json.dumps({"program": arguments.program, "version": version})
    output.payload_line(version)
    return 0
