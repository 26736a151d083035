"""Where `open` and `connect` take their client token from: a token source, or a name."""

import sys
from collections.abc import Mapping
from pathlib import Path

from derphole.cli.frame import sources
from derphole.cli.frame.arguments import Arguments
from derphole.cli.frame.near_words import meant
from derphole.cli.frame.output import Output
from derphole.derptun.registry import MAX_FILE_SIZE, check_service_name, parse_registry
from derphole.edges import private_file
from derphole.edges.stdio import reason_text
from derphole.errors import RegistryUnusable, ServiceUnknown, UsageError
from derphole.status import Caution
from derphole.token.pasted import pasted_token
from derphole.token.text import ClientToken
from derphole.token.validity import check_client
from tunnel.net.clock import wall

REGISTRY_OPTION = """\
    --registry PATH             The registry of services (default: services.json in derphole's
                                folder of settings)
"""
SERVICE_OPTION = f"""\
    --service NAME              Take the token that `derptun service set NAME` has kept
{REGISTRY_OPTION}"""


def client_source(
    arguments: Arguments, output: Output, *, warns_of_mode: bool = True
) -> ClientToken:
    """Return the client token that the command line names.

    Raises `UsageError`, `TokenError`, `ServiceUnknown`, `RegistryUnusable`.
    """
    name = arguments.text("--service")
    if name is None:
        if arguments.text("TOKEN") is None and not sources.is_given_elsewhere(arguments):
            raise UsageError(
                "exactly one of --service, TOKEN, --token, --token-file, or --token-stdin is "
                "required"
            )
        text = sources.token_text(arguments, output, warns_of_mode=warns_of_mode)
        return check_client(pasted_token(text), wall())
    names = ("TOKEN", *sources.OPTION_NAMES)
    if any(arguments.values.get(each) not in (None, False) for each in names):
        raise UsageError(
            "at most one of --service, TOKEN, --token, --token-file, or --token-stdin may be set"
        )
    check_service_name(name)
    path = registry_path(arguments)
    services = read_registry(path, output if warns_of_mode else None)
    if name not in services:
        likely = meant(name, services).removeprefix("; did you mean ").removesuffix("?")
        raise ServiceUnknown(name, likely or None)
    return check_client(services[name], wall())


def registry_path(arguments: Arguments) -> str:
    """Return the file of the registry; raises `UsageError` where there is no place for one."""
    path = arguments.text("--registry")
    if path == "":
        raise UsageError("--registry requires the name of a file")
    folder = None if path else config_folder(arguments.environ)
    if not path and folder is None:
        raise UsageError("--registry PATH is required: this user has no home", shows_help=False)
    return path or str(Path(str(folder)) / "services.json")


def config_folder(environ: Mapping[str, str]) -> Path | None:
    """Return the folder of this user's settings; None for a user without a home."""
    chosen = environ.get("XDG_CONFIG_HOME", "")
    if chosen and Path(chosen).is_absolute():
        return Path(chosen) / "derphole"
    home = environ.get("HOME", "")
    if not home or not Path(home).is_absolute():
        return None
    folder = "Library/Application Support" if sys.platform == "darwin" else ".config"
    return Path(home) / folder / "derphole"


def read_registry(path: str, output: Output | None) -> dict[str, ClientToken]:
    """Return the services of a file, none where there is no file; raises `RegistryUnusable`.

    Args:
        path: of the file.
        output: gets the warning about a file that others can read; None for none.
    """
    try:
        found = private_file.read_text(path, MAX_FILE_SIZE)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise RegistryUnusable(path, reason_text(error)) from error
    if output is not None and found.is_exposed:
        output.report(Caution(f"other users can use the tokens in {path} (mode {found.mode:04o})"))
    return parse_registry(found.text, path)


def make_folder(path: str) -> None:
    """Make the folder of a new registry, for its owner only; raises `OSError`."""
    Path(path).parent.mkdir(0o700, parents=True, exist_ok=True)
