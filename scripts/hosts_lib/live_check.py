"""Checks the program against real relays, from this machine alone; see scripts/live-check."""

import argparse
import json
import os
import platform
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# The package itself, and what tests share.
sys.path[0] = str(ROOT / "scripts")
sys.path.append(str(ROOT / "tests"))

from hosts_lib.cargo import PROGRAM, Cargo  # noqa: E402
from hosts_lib.end import Near  # noqa: E402
from hosts_lib.report import Row, parse_size, seconds_text, size_text, table  # noqa: E402
from hosts_lib.run import USAGE_CODE, Parser, cleaned, guarded, say  # noqa: E402
from hosts_lib.transfer import Moved, Wish, move, transfer_rows  # noqa: E402
from hosts_lib.trouble import Trouble, without_addresses  # noqa: E402

NAME = "scripts/live-check"
LOG = ROOT / ".build" / "live-check"
SIZE = "1M"  # twice, over relays of somebody else
NETCHECK_S = 60.0
PACKAGES = ("gevent", "pynacl")


def main() -> int:
    """Return 0 only when everything was as it must be."""
    try:
        arguments = _arguments()
        program = _program(arguments)
    except Trouble as error:
        print(f"{NAME}: {error}", file=sys.stderr)
        return USAGE_CODE
    log = LOG / str(os.getpid())
    hide = (lambda text: text) if arguments.addresses else without_addresses
    rows: list[Row] = []
    near = Near(log)
    code = guarded(
        NAME,
        lambda: _check(arguments, near, program, rows, hide),
        lambda: rows.extend(cleaned(near)),
        lambda: table([Row(r.what, hide(r.seen), r.must, r.is_ok) for r in rows]) if rows else "",
        lambda: all(row.is_ok for row in rows),
        hide,
    )
    if code and log.is_dir():
        say(f"what the programs said, with addresses, is in {log.relative_to(ROOT)}")
    else:
        shutil.rmtree(log, ignore_errors=True)
    return code


def _check(
    arguments: argparse.Namespace,
    near: Near,
    program: Path,
    rows: list[Row],
    hide: Callable[[str], str],
) -> None:
    near.open(Cargo(str(program)))
    rows += _versions(near, is_checkout=arguments.program is None)
    wish = Wish(parse_size(SIZE), arguments.relay)
    say("netcheck")
    rows += _netcheck(near, wish)
    for what, kind in (
        ("kept on the relay", Wish(wish.size, wish.relay, is_relayed=True, is_gated=True)),
        ("to a direct path", Wish(wish.size, wish.relay, is_gated=True)),
    ):
        say(f"{size_text(wish.size)} {what}")
        moved = move(near, near, kind)
        rows += [*_times(what, moved), *transfer_rows(what, moved, kind)]


def _versions(near: Near, *, is_checkout: bool) -> list[Row]:
    system = f"{platform.system()} {platform.release()}, {platform.machine()}"
    rows = [Row("program", near.version), Row("system", system)]
    if is_checkout:
        packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
        rows.append(Row("run by", f"Python {platform.python_version()}, {packages}"))
    return rows


def _times(what: str, moved: Moved) -> list[Row]:
    """Return what is told of a transfer beside what must be true of it."""
    seconds = [float(str(flow.receipt["seconds"])) for flow in moved.flows]
    paths = " / ".join(dict.fromkeys(flow.path for flow in moved.flows))
    return [
        Row(f"{what}: linked after", seconds_text(moved.link_s)),
        Row(f"{what}: moved in", " / ".join(seconds_text(each) for each in seconds)),
        Row(f"{what}: path at the end", paths),
    ]


# -- netcheck --------------------------------------------------------------------------------


def _netcheck(near: Near, wish: Wish) -> list[Row]:
    """Return what netcheck says; raises `Trouble` where no relay can be used."""
    checked = near.start("netcheck", "netcheck", "--json", *wish.relay_options)
    try:
        code = checked.process.wait(NETCHECK_S)
    except AssertionError:
        raise Trouble(f"netcheck has not ended within {NETCHECK_S:g} s") from None
    try:
        report = json.loads(checked.process.stdout)
    except ValueError:
        raise Trouble(f"netcheck ended with {code} and no report") from None
    if code:
        raise Trouble(
            f"no relay can be used from here, so nothing else was tried; netcheck says "
            f"{report['verdict']}: {report['recommendation']}"
        )
    return netcheck_rows(report)


def netcheck_rows(report: Mapping[str, object]) -> list[Row]:
    """Return the rows of a netcheck that reached a relay."""
    relays = report["relays"]
    assert isinstance(relays, Sequence)
    reached = [each for each in relays if each["reachable"]]
    regions = ", ".join(f"{each['code']} {each['latency_ms']} ms" for each in reached)
    ways = report["port_mapping"]
    found = [each["protocol"] for each in ways if each["works"]] if isinstance(ways, list) else []
    rows = [
        Row("netcheck: verdict", str(report["verdict"])),
        Row("netcheck: relays reached", regions or "none", "one", bool(reached)),
        Row("netcheck: took", seconds_text(float(str(report["seconds"])))),
        Row("netcheck: port mapping", ", ".join(found) or "none"),
    ]
    for family in ("ipv4", "ipv6"):
        one = report[family]
        told = (
            f"UDP {'works' if one['udp'] else 'does not work'}, mapping {one['mapping']}, "
            f"filtering {one['filtering']}"
            if isinstance(one, Mapping)
            else "not available"
        )
        rows.append(Row(f"netcheck: {family.replace('ip', 'IP')}", told))
    return rows


# -- arguments -------------------------------------------------------------------------------


def _arguments() -> argparse.Namespace:
    parser = Parser(NAME)
    parser.add_argument("--relay", default=os.environ.get("DERPHOLE_RELAY", ""))
    parser.add_argument("--program")
    parser.add_argument("--addresses", action="store_true")
    return parser.parse_args()


def _program(arguments: argparse.Namespace) -> Path:
    named = arguments.program or str(Path(sys.executable).with_name(PROGRAM))
    found = shutil.which(named)
    if found is None:
        raise Trouble(f"the program {named} is not there or cannot be run")
    return Path(found).absolute()


if __name__ == "__main__":
    sys.exit(main())
