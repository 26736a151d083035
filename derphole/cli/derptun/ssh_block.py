"""The block of ~/.ssh/config that leads through a tunnel.

What stands behind ProxyCommand goes to the shell with `exec` in front, so it is a bare command: an
absolute path, no `exec`, no variables, and the token in a file.
"""

import re
import shlex
import shutil
import sys
from pathlib import Path

from derphole.cli.frame.arguments import Arguments
from derphole.errors import UsageError

# What ssh takes for one name, and no pattern.
HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
PASSED_ON = (
    "--registry",
    "--relay",
    "--derp-map",
    "--ca-file",
    "--udp-port",
    "--timeout",
    "--log-file",
)
PATHS = ("--registry", "--ca-file", "--log-file")


def ssh_block(arguments: Arguments, host: str) -> str:
    """Return the block for a host; raises `UsageError`."""
    if not HOST.fullmatch(host):
        raise UsageError(
            f'invalid host "{host}": use letters, digits, dots, dashes and underscores; a user is '
            "named with `User`, or as in `ssh user@host`",
            shows_help=False,
        )
    token_file, service = arguments.text("--token-file"), arguments.text("--service")
    if not token_file and not service:
        raise UsageError(
            "--print-ssh-config requires --token-file or --service: ssh's settings hold no secrets"
        )
    words = [*program_words(), "connect", "--stdio"]
    if token_file:
        words += ["--token-file", str(Path(token_file).absolute())]
    else:
        words += ["--service", str(service)]
    for name in PASSED_ON:
        value = arguments.text(name)
        if value is not None:
            is_path = name in PATHS or (name == "--derp-map" and "://" not in value)
            words += [name, str(Path(value).absolute()) if is_path else value]
    if arguments.flag("--force-relay"):
        words.append("--force-relay")
    command = " ".join(map(shlex.quote, words)).replace("%", "%%")
    return f"Host {host}\n    HostKeyAlias {host}\n    ProxyCommand {command}"


def program_words() -> list[str]:
    """Return what starts this very program as derptun, from any folder; links are kept.

    A frozen program knows its own file alone.  Where a link in PATH leads there, the link is taken:
    the file lies in a folder of its version, which an upgrade takes away.
    """
    path = Path(sys.argv[0]).absolute()
    if getattr(sys, "frozen", False):
        path = Path(sys.executable)
        link = shutil.which(Path(sys.argv[0]).name)
        if link is not None and Path(link).resolve() == path.resolve():
            path = Path(link).absolute()
    return [str(path)] if path.name.startswith("derptun") else [str(path), "derptun"]
