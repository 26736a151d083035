"""Usage: manual_pages.py [FOLDER]

Writes what packages carry beside the programs into FOLDER (build/share), from the usage texts:
manual pages, and what bash and fish complete with.  zsh sources `derphole completion zsh`.

A test fails when what is there is not what this writes.
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from derphole import __version__  # noqa: E402
from derphole.cli.catalogue import COMMANDS, Program  # noqa: E402
from derphole.cli.frame.options import GLOBAL_OPTIONS  # noqa: E402

FOLDER = ROOT / "build" / "share"
# By shell: where it looks for the completion of a program.
COMPLETIONS = {
    "bash": "bash-completion/completions/{program}",
    "fish": "fish/vendor_completions.d/{program}.fish",
}
ENTRY = re.compile(r" {4}(\S.*?) {2,}(\S.*)")
INTRODUCTION = {
    "derphole": (
        "Files, folders, byte streams and TCP connections go from one machine to another that "
        "needs no open port, no account and no server. One side prints a code, the other one "
        "uses it. Both meet on a DERP relay, which sees only sealed packets, and move to a direct "
        "encrypted UDP path when one is found."
    ),
    "derptun": (
        "A TCP service of one machine is reached from others, for months, through an encrypted "
        "link that lives through restarts and changes of the network. The server's token is made "
        "once; client tokens are made from it and can be revoked."
    ),
}
ENVIRONMENT = (
    ("DERPHOLE_TOKEN, DERPTUN_TOKEN", "the token, where no other source gives one"),
    ("DERPHOLE_RELAY, DERPHOLE_DERP_MAP", "defaults of --relay and --derp-map"),
    ("HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, NO_PROXY", "proxies on the way to relays"),
    ("SSL_CERT_FILE, SSL_CERT_DIR", "authorities to trust in place of the system's"),
)
EXIT_STATUS = (
    ("0", "done"),
    ("1", "failed; the last line on standard error says why and what to do"),
    ("2", "wrong usage, or a token source that cannot be read"),
    ("128+N", "ended by signal N"),
)


def files() -> Iterator[tuple[str, str]]:
    """Yield the path of each file in the folder, and what is in it."""
    for program in COMMANDS.values():
        yield f"man/man1/{program.name}.1", manual_page(program)
    for shell, place in COMPLETIONS.items():
        command = [sys.executable, "-m", "derphole", "completion", shell]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        for program in COMMANDS:
            yield place.format(program=program), done.stdout


def manual_page(program: Program) -> str:
    """Return the manual page of a program in man(7)."""
    name = program.name
    lines = [
        f'.TH {name.upper()} 1 "" "{name} {__version__}" "User Commands"',
        ".SH NAME",
        plain(f"{name} - {program.description}"),
        ".SH SYNOPSIS",
        f".B {name}",
        r".I COMMAND",
        "[options]",
        ".SH DESCRIPTION",
        plain(INTRODUCTION[name]),
        ".SH COMMANDS",
    ]
    for command in sorted(program.commands):
        lines += section(command, program.commands[command].load().USAGE)
    lines += [".SH GLOBAL OPTIONS", *entries(GLOBAL_OPTIONS.splitlines())]
    lines += [".SH ENVIRONMENT", *pairs(ENVIRONMENT), ".SH EXIT STATUS", *pairs(EXIT_STATUS)]
    other = next(each.name for each in COMMANDS.values() if each is not program)
    lines += [".SH SEE ALSO", f".BR {other} (1),", ".BR ssh (1)"]
    return "\n".join(lines) + "\n"


def section(command: str, usage: str) -> Iterator[str]:
    """Yield the lines of one command."""
    yield f".SS {quoted(command)}"
    heading = ""
    is_first = True
    for block in usage.strip().split("\n\n"):
        lines = block.split("\n")
        if lines[0].isupper() and lines[0].endswith(":"):
            heading, lines = lines[0], lines[1:]
            if heading in ("USAGE:", "EXAMPLES:"):
                yield from (".PP", ".nf", *(plain(line.strip()) for line in lines), ".fi")
                continue
            yield from (".PP", f".B {plain(heading)}")
        if heading in ("ARGUMENTS:", "OPTIONS:"):
            yield from entries(lines)
        else:
            if not is_first:
                yield ".PP"
            yield plain(" ".join(line.strip() for line in lines))
        is_first = False


def entries(lines: list[str]) -> Iterator[str]:
    """Yield a list of options or arguments."""
    for line in lines:
        found = ENTRY.fullmatch(line)
        if found:
            yield from (".TP", f"\\fB{plain(found[1])}\\fR", plain(found[2]))
        elif line.strip():
            yield plain(line.strip())


def pairs(rows: tuple[tuple[str, str], ...]) -> Iterator[str]:
    """Yield a list of names with what they mean."""
    for name, meaning in rows:
        yield from (".TP", f"\\fB{plain(name)}\\fR", plain(meaning))


def plain(text: str) -> str:
    """Return text as roff has it: nothing in it is a request or an escape."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("~", "\\(ti").replace("^", "\\(ha")
    text = text.replace("`", "\\(ga").replace('"', "\\(dq")
    return f"\\&{text}" if text.startswith((".", "'")) else text


def quoted(text: str) -> str:
    """Return the argument of a request."""
    return f'"{plain(text)}"'


def main() -> None:
    """Write the files."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    for name, text in files():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    if re.fullmatch(r"-h|--help", "".join(sys.argv[1:])):
        print(__doc__)
    else:
        main()
