"""Checks the program between this machine and another one; see scripts/two-hosts."""

import argparse
import os
import shlex
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# The package itself, and what tests share.
sys.path[0] = str(ROOT / "scripts")
sys.path.append(str(ROOT / "tests"))

from hosts_lib.cargo import PROGRAM, Cargo, cargo_for, is_archive  # noqa: E402
from hosts_lib.end import End, Far, Near  # noqa: E402
from hosts_lib.modes import MODES, SIZES, Check  # noqa: E402
from hosts_lib.report import Row, parse_size, size_text, table  # noqa: E402
from hosts_lib.run import USAGE_CODE, Parser, cleaned, guarded, say  # noqa: E402
from hosts_lib.transfer import Wish  # noqa: E402
from hosts_lib.trouble import Trouble  # noqa: E402

NAME = "scripts/two-hosts"
BUILT = ROOT / "dist" / "derphole"
LOG = ROOT / ".build" / "two-hosts"


def main() -> int:
    """Return 0 only when everything was as it must be."""
    try:
        arguments = _arguments()
        cargoes = _cargoes(arguments)
    except Trouble as error:
        print(f"{NAME}: {error}", file=sys.stderr)
        return USAGE_CODE
    log = LOG / str(os.getpid())
    rows: list[Row] = []
    near, far = Near(log), Far(shlex.split(arguments.ssh), arguments.host, log)
    code = guarded(
        NAME,
        lambda: _run(arguments, near, far, cargoes, rows),
        lambda: rows.extend([*cleaned(far), *cleaned(near)]),
        lambda: table(rows) if rows else "",
        lambda: all(row.is_ok for row in rows),
    )
    if code and log.is_dir():
        say(f"what the programs said is in {log.relative_to(ROOT)}")
    else:
        shutil.rmtree(log, ignore_errors=True)
    return code


def _run(
    arguments: argparse.Namespace, near: End, far: Far, cargoes: list[Cargo], rows: list[Row]
) -> None:
    if not arguments.relay:
        say("using relays of the public map, which belong to somebody else; --relay names one")
    for end, cargo in zip((near, far), cargoes, strict=True):
        if isinstance(end, Far):
            end.greet(near.folder)
        if cargo.source is not None:
            say(f"copying {cargo.source} to {end.name}")
        end.open(cargo)
        rows.append(Row(f"program {end.name}", f"{end.version}, {end.platform}"))
    wish = Wish(arguments.size, arguments.relay)
    rows.append(Row("payload each way", size_text(wish.size)))
    MODES[arguments.mode](Check(near, far, wish, rows, say))


# -- arguments -------------------------------------------------------------------------------


def _arguments() -> argparse.Namespace:
    parser = Parser(NAME)
    parser.add_argument("host", metavar="HOST")
    parser.add_argument("mode", metavar="MODE")
    parser.add_argument("--size", type=_size)
    parser.add_argument("--relay", default=os.environ.get("DERPHOLE_RELAY", ""))
    parser.add_argument("--ssh", default="ssh")
    parser.add_argument("--program")
    parser.add_argument("--remote-program")
    arguments = parser.parse_args()
    if not arguments.host or arguments.host.startswith("-"):
        raise Trouble(f"{arguments.host!r} is no host that ssh reaches; see {NAME} --help")
    if arguments.mode not in MODES:
        raise Trouble(f"there is no mode {arguments.mode!r}; there are {', '.join(MODES)}")
    if not shlex.split(arguments.ssh):
        raise Trouble("--ssh names no program")
    arguments.size = arguments.size or parse_size(SIZES[arguments.mode])
    return arguments


def _size(text: str) -> int:
    try:
        return parse_size(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _cargoes(arguments: argparse.Namespace) -> list[Cargo]:
    """Return the programs of this machine and of the other one."""
    built = BUILT / PROGRAM
    named = arguments.program or (str(built) if built.exists() else None)
    here = named or str(Path(sys.executable).with_name(PROGRAM))
    found = shutil.which(here)
    if found is None:
        raise Trouble(f"the program {here} is not there or cannot be run")
    there = arguments.remote_program or _like(found, is_named=bool(arguments.program))
    return [Cargo(str(Path(found).absolute())), cargo_for(there)]


def _like(program: str, *, is_named: bool) -> str:
    """Return what is copied where only the program of this machine is named."""
    path = Path(program).resolve()
    if (path.parent / "_internal").is_dir():  # the folder that it was built as
        return str(path.parent)
    return str(path) if is_named and not is_archive(path) else str(BUILT)


if __name__ == "__main__":
    sys.exit(main())
