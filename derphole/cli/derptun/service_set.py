"""`service set`: keeps a client token under a name."""

from derphole.cli.derptun.client_source import REGISTRY_OPTION, make_folder, registry_path
from derphole.cli.frame import sources
from derphole.cli.frame.arguments import Arguments
from derphole.cli.frame.options import SOURCE_OPTIONS
from derphole.cli.frame.output import Output
from derphole.derptun.registry import (
    MAX_FILE_SIZE,
    check_service_name,
    parse_registry,
    registry_text,
)
from derphole.edges import private_file
from derphole.edges.stdio import reason_text
from derphole.errors import RegistryUnusable, UsageError
from derphole.status import Notice
from derphole.token.pasted import pasted_token
from derphole.token.text import ClientToken
from derphole.token.validity import check_client
from tunnel.net.clock import wall

USAGE = f"""\
Keep a client token under a name, for `derptun open` and `derptun connect` with --service NAME.

The file is yours alone (mode 0600).  A name that is there is given the new token.

USAGE:
    derptun service set [options] [--] NAME

ARGUMENTS:
    NAME                Up to 128 letters, digits, dots, dashes and underscores

OPTIONS:
{SOURCE_OPTIONS}\
{REGISTRY_OPTION}
EXAMPLES:
    derptun service set nas --token-file client.dtc
"""


def run(arguments: Arguments, output: Output) -> int:
    """Keep it and return 0."""
    name = arguments.text("NAME") or ""
    check_service_name(name)
    if not sources.is_given_elsewhere(arguments):
        raise UsageError("a token is required: --token-file FILE, --token or --token-stdin")
    text = sources.token_text(arguments, output, None)
    token = check_client(pasted_token(text), wall())
    path = registry_path(arguments)
    keep(path, name, token)
    output.report(Notice(f"service {name} is kept in {path}"))
    return 0


def keep(path: str, name: str, token: ClientToken) -> None:
    """Put a service into the registry; raises `RegistryUnusable`."""

    def changed(text: str) -> str:
        return registry_text({**parse_registry(text, path), name: token})

    try:
        make_folder(path)
        private_file.change(path, MAX_FILE_SIZE, changed)
    except OSError as error:
        raise RegistryUnusable(path, reason_text(error)) from error
