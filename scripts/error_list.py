"""Usage: error_list.py > docs/errors.md

Prints docs/errors.md from the error tree: the code, the sentence, the next step and the exit code
of every error.  A test fails when the file is not what this prints.
"""

import importlib
import pkgutil
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from string import Formatter

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import tunnel  # noqa: E402
from derphole.cli.invocation import TUNNEL_NEXT_STEP, error_code, general_sentence  # noqa: E402
from derphole.errors.base import DerpholeError, Interrupted  # noqa: E402
from tunnel.errors import MisuseError, TunnelError  # noqa: E402

SUBJECTS = (
    *(
        "tokens",
        "codes",
        "peer",
        "data",
        "files",
        "relays",
        "forwarding",
        "transfers",
        "ssh",
        "derptun",
    ),
    "base",
)

HEAD = """\
# Errors

What a command says in its last line on standard error when it fails: what happened, on which side,
and after the semicolon what to do next. With `--json` the same is the event `error` with the keys
`code`, `message` and `exit_code`; codes are only ever added. Words in CAPITALS are filled in; what
is in [brackets] is there only when it is known. Where more is known of a case, its own next step is
given instead of the one listed here.

This file is printed by `scripts/error_list.py` from `derphole/errors/`.
"""

TUNNEL_HEAD = """\
## Anything else

Errors of the `tunnel` library that no command has a sentence of its own for. They are not expected.
The code is the name of the error, and the sentence goes on with what is known. The next step is
always the same: {step}.
The exit code is 1.

| code | sentence |
|---|---|
"""


def subjects() -> Iterator[tuple[str, list[type[DerpholeError | Interrupted]]]]:
    """Yield the modules of the tree: the first line of each, and its errors in their order."""
    for subject in SUBJECTS:
        module = importlib.import_module(f"derphole.errors.{subject}")
        title = str(module.__doc__).partition("\n")[0].rstrip(".")
        yield title, [each for each in vars(module).values() if is_told(each, module.__name__)]


def is_told(thing: object, module: str) -> bool:
    """Tell whether a thing in a module is an error of this module that can be raised."""
    is_error = isinstance(thing, type) and issubclass(thing, DerpholeError | Interrupted)
    return is_error and thing.__module__ == module and hasattr(thing, "says")


def shown(template: str) -> str:
    """Write a template with its places in capitals, fit for a cell of a table."""
    parts = []
    for literal, name, _, _ in Formatter().parse(template):
        parts += [literal, name.removesuffix("_s").replace("_", " ").upper() if name else ""]
    return "".join(parts).replace("|", "\\|")


def exit_code(kind: type[DerpholeError | Interrupted]) -> str:
    """Return the exit code of an error as it is written in the table."""
    return str(kind.exit_code) if issubclass(kind, DerpholeError) else "128 + signal"


def tunnel_errors() -> list[type[TunnelError]]:
    """Return every error of the library that a person may be shown, by its code."""
    for found in pkgutil.walk_packages(tunnel.__path__, "tunnel."):
        importlib.import_module(found.name)
    waiting, kinds = [TunnelError], []
    while waiting:
        kind = waiting.pop()
        kinds.append(kind)
        waiting += kind.__subclasses__()
    return sorted((kind for kind in kinds if kind is not MisuseError), key=error_code)


def document() -> str:
    """Return the whole document."""
    lines = [HEAD]
    for title, kinds in subjects():
        lines += [
            f"## {title}",
            "",
            "| code | sentence | next step | exit code |",
            "|---|---|---|---|",
        ]
        for kind in kinds:
            cells = (f"`{kind.code}`", shown(kind.says), shown(kind.next_step), exit_code(kind))
            lines.append(f"| {' | '.join(cells)} |")
        lines.append("")
    rows = (f"| `{error_code(kind)}` | {general_sentence(kind)} |" for kind in tunnel_errors())
    lines.append(TUNNEL_HEAD.format(step=TUNNEL_NEXT_STEP) + "\n".join(rows))
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    if re.fullmatch(r"-h|--help", "".join(sys.argv[1:])):
        print(__doc__)
    else:
        sys.stdout.write(document())
