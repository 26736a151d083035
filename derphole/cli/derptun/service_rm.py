"""`service rm`: forgets a service."""

from derphole.cli.derptun.client_source import REGISTRY_OPTION, registry_path
from derphole.cli.frame.arguments import Arguments
from derphole.cli.frame.output import Output
from derphole.derptun.registry import (
    MAX_FILE_SIZE,
    check_service_name,
    parse_registry,
    registry_text,
)
from derphole.edges import private_file
from derphole.edges.stdio import reason_text
from derphole.errors import RegistryUnusable, ServiceUnknown
from derphole.status import Notice

USAGE = f"""\
Forget a service.  Its token stays good; to end that, use `derptun token revoke` at the server.

USAGE:
    derptun service rm [options] [--] NAME

ARGUMENTS:
    NAME                A name that `derptun service list` shows

OPTIONS:
{REGISTRY_OPTION}
EXAMPLES:
    derptun service rm nas
"""


def run(arguments: Arguments, output: Output) -> int:
    """Forget it and return 0."""
    name = arguments.text("NAME") or ""
    check_service_name(name)
    path = registry_path(arguments)

    def changed(text: str) -> str:
        services = parse_registry(text, path)
        if name not in services:
            raise ServiceUnknown(name, None)
        del services[name]
        return registry_text(services)

    try:
        private_file.change(path, MAX_FILE_SIZE, changed, may_make=False)
    except FileNotFoundError as error:
        raise ServiceUnknown(name, None) from error
    except OSError as error:
        raise RegistryUnusable(path, reason_text(error)) from error
    output.report(Notice(f"service {name} is forgotten"))
    return 0
