"""`version`: one line on standard output.  Imports nothing that takes time."""

from derphole import __version__
from derphole.cli.frame.arguments import Arguments
from derphole.cli.frame.output import Output

USAGE = """\
Print the version of this program.

USAGE:
    derphole version

EXAMPLES:
    derphole version
"""


def run(arguments: Arguments, output: Output) -> int:
    """Print the version."""
    output.payload_line(f"v{__version__}")
    return 0
