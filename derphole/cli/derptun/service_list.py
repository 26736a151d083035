"""`service list`: the names in the registry, without their tokens."""

from derphole.cli.derptun.client_source import REGISTRY_OPTION, read_registry, registry_path
from derphole.cli.frame.arguments import Arguments
from derphole.cli.frame.output import Output
from derphole.derptun.registry import KIND
from derphole.errors import utc_text

USAGE = f"""\
List the services that are kept: name, kind and end of each, with tabs between; no token.

USAGE:
    derptun service list [options]

OPTIONS:
{REGISTRY_OPTION}
EXAMPLES:
    derptun service list
"""


def run(arguments: Arguments, output: Output) -> int:
    """List them and return 0."""
    services = read_registry(registry_path(arguments), output)
    for name in sorted(services):
        until = utc_text(services[name].grant.expires_at)
        output.payload_line(f"{name}\t{KIND}\t{until}\tvalue redacted")
    return 0
