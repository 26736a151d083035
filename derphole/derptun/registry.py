"""Registry: names of servers, each with the client token that leads there, in one private file.

    {"version": 1, "services": {NAME: {"token": "dtcli1_..."}}}

Pure; knows nothing about files.  Names are those of the Go tool's registry.
"""

import json
import re

from derphole.errors import RegistryUnusable, TokenError, UsageError
from derphole.token.text import ClientToken, parse_token, token_text

VERSION = 1
KIND = "derptun-client-token"
# Chosen: thousands of services.
MAX_FILE_SIZE = 4 << 20
NAME = re.compile(r"(?![.-])(?!.*\.\.)[A-Za-z0-9_.-]{1,128}")


def check_service_name(name: str) -> None:
    """Raise `UsageError` for what is no name of a service."""
    if not NAME.fullmatch(name):
        raise UsageError(
            f'invalid name of a service "{name}": use up to 128 letters, digits, ".", "-" and "_", '
            'no "." or "-" at the beginning and no ".."',
            shows_help=False,
        )


def parse_registry(text: str, place: str) -> dict[str, ClientToken]:
    """Return the services of a file; raises `RegistryUnusable`.

    Args:
        text: of the file; "" for none.
        place: the file, for a person.
    """
    if not text.strip():
        return {}
    try:
        document = json.loads(text)
        if document["version"] != VERSION:
            raise RegistryUnusable(place, "it was written by another version of this program")
        services = {name: parse_token(each["token"]) for name, each in document["services"].items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise RegistryUnusable(place, "it is no registry of services") from None
    except TokenError:
        raise RegistryUnusable(place, "a token in it is damaged") from None
    if not all(isinstance(token, ClientToken) for token in services.values()):
        raise RegistryUnusable(place, "a token in it is no client token")
    return {name: token for name, token in services.items() if isinstance(token, ClientToken)}


def registry_text(services: dict[str, ClientToken]) -> str:
    """Return the text of a file with these services."""
    document = {
        "version": VERSION,
        "services": {name: {"token": token_text(services[name])} for name in sorted(services)},
    }
    return json.dumps(document, indent=2) + "\n"
