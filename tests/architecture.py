"""The rules of the module layout, as a checker that takes a folder and yields sentences.

    height   module                         may import
    6        derphole/cli, __main__         everything below
    5        derphole/*                     tunnel, its own height; never derphole.cli
    4        tunnel/net                     0 to 4; the only place in tunnel that blocks
    ------   the I/O line                   below it: no clock, no randomness, no sockets, no gevent
    3 2 1 0  tunnel/proto crypto wire       its own height or lower
             tunnel/errors units values

Within tunnel/proto, tunnel/net and derphole the table of rooms in docs/architecture.md says what may
import what.

`test_architecture.py` runs it on the tree, and on trees with one fault planted each.
"""

import ast
import functools
import graphlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

HEIGHT = {
    "tunnel": {"errors": 0, "units": 0, "values": 0, "wire": 1, "crypto": 2, "proto": 3, "net": 4},
    "derphole": {"cli": 6, "__main__": 6},  # every other derphole module: 5
}
DERPHOLE_HEIGHT = 5
PURE_HEIGHT = 3
PURE_DERPHOLE = {
    "PROGRAM",  # a constant of the package
    "SIGNAL_EXIT_BASE",  # another one
    "code_status",
    "config",
    "derptun.announcements",
    "derptun.described",
    "derptun.gate",
    "derptun.keeper",
    "derptun.limits",
    "derptun.minting",
    "derptun.registry",
    "derptun.revocations",
    "derptun.statuses",
    "delivery.bottleneck",
    "delivery.standstill",
    "delivery.statuses",
    "delivery.wishes",
    "errors",
    "forwarding.endpoints",
    "forwarding.listeners",
    "forwarding.statuses",
    "network.report",
    "network.verdict",
    "progress",
    "speech.access_messages",
    "speech.decisions",
    "speech.endings",
    "speech.stream_proof",
    "speech.stream_states",
    "speech.tally",
    "speech.messages",
    "speech.transfer_decisions",
    "speech.transfer_messages",
    "speech.resets",
    "speech.turns",
    "ssh.USUAL_PORT",  # a constant of the package
    "ssh.authorized_keys",
    "ssh.exchange",
    "ssh.login",
    "ssh.public_key",
    "ssh.statuses",
    "ssh.strict_modes",
    "status",
    "transfer_status",
    "token",
    "transfer.archive",
    "transfer.archive_reader",
    "transfer.entries",
    "transfer.held",
    "transfer.journal",
    "transfer.names",
    "transfer.offer",
    "transfer.outcome",
    "transfer.pieces",
    "transfer.placing",
    "transfer.receiving",
    "transfer.repairs",
    "transfer.selection",
    "transfer.sending",
    "transfer.tar_header",
}
NAMED_MODULE = re.compile(r"`((?:tunnel|derphole)(?:\.\w+)+)`")
SAYS_PURE = re.compile(r"\bPure\b[.;]")
PURE_FORBIDS = {
    "gevent",
    "greenlet",
    "os",
    "random",
    "secrets",
    "select",
    "selectors",
    "signal",
    "socket",
    "ssl",
    "subprocess",
    "threading",
    "time",
}
# Packages whose root is the door to their modules, and imports nothing else.
DOORS = {"derphole.errors"}
CLOCK_CALL = re.compile(r"\b(datetime|date)\.(now|utcnow|today)$")
# Wire modules that are not codecs of their own: every codec may use them.
WIRE_SHARED = {"disco", "reader"}
# What one reaches through an object for is not one's own: the endpoint has it.
INNARDS = {"machine", "pump"}
ROOMS_DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "architecture.md"
ROOMS_HEAD = "| room | where | holds | may import |"
MAX_MODULE_LINES = 600
MAX_TEST_LINES = 800


def height(module: str) -> int:
    """Return the height of a dotted module, or of a name in it."""
    package, _, rest = module.partition(".")
    default = DERPHOLE_HEIGHT if package == "derphole" and rest else 0
    return HEIGHT[package].get(rest.split(".")[0], default)


def is_pure(module: str) -> bool:
    """Tell whether a module lies below the I/O line."""
    package, _, rest = module.partition(".")
    if package == "tunnel":
        return height(module) <= PURE_HEIGHT
    return any(f"{rest}.".startswith(f"{pure}.") for pure in PURE_DERPHOLE)


def modules(root: Path) -> Iterator[tuple[str, Path]]:
    """Yield the dotted name and path of every module of both packages."""
    for package in HEIGHT:
        for path in sorted((root / package).rglob("*.py")):
            dotted = ".".join(path.relative_to(root).with_suffix("").parts)
            yield dotted.removesuffix(".__init__"), path


def parsed(path: Path) -> ast.Module:
    """Return the syntax tree of a file; a file is read once."""
    return _parse(path, path.stat().st_mtime_ns)


@functools.cache
def _parse(path: Path, changed_at: int) -> ast.Module:
    del changed_at
    return ast.parse(path.read_text())


def imported_names(path: Path) -> Iterator[str]:
    """Yield every dotted name that a file imports, late imports and imports for types included."""
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            dots = "." * node.level
            yield from (f"{dots}{node.module or ''}.{alias.name}" for alias in node.names)


def layer_violations(root: Path) -> Iterator[str]:
    """Yield a sentence for every import that crosses a line."""
    for module, path in modules(root):
        for name in imported_names(path):
            yield from _import_violations(module, name)


def _import_violations(module: str, name: str) -> Iterator[str]:
    head = name.partition(".")[0]
    if name.startswith("."):
        yield f"{module}: relative import ({name})"
    elif name.startswith("gevent.monkey"):
        yield f"{module}: monkey patching ({name})"
    elif head in {"tests", "scripts", "build"}:
        yield f"{module}: the product never imports {head} ({name})"
    elif module.startswith("tunnel") and head == "derphole":
        yield f"{module}: tunnel must never import derphole"
    elif head in HEIGHT and name != f"{head}.__version__" and height(name) > height(module):
        yield f"{module}: imports upward ({name})"
    elif is_pure(module) and (head in PURE_FORBIDS or (head in HEIGHT and not is_pure(name))):
        yield f"{module}: {name} below the I/O line"


def codec_violations(root: Path) -> Iterator[str]:
    """Yield a sentence for every wire codec that imports another."""
    for module, path in modules(root):
        if not module.startswith("tunnel.wire."):
            continue
        for name in imported_names(path):
            codec = name.removeprefix("tunnel.wire.").split(".")[0]
            if name.startswith("tunnel.wire.") and codec not in WIRE_SHARED:
                yield f"{module}: a codec imports another ({name})"


def package_root_violations(root: Path) -> Iterator[str]:
    """Yield a sentence for every package root that imports more than it may."""
    for module, path in modules(root):
        if path.name != "__init__.py":
            continue
        own = f"{module}."
        if any(not (module in DOORS and name.startswith(own)) for name in imported_names(path)):
            yield f"{path.relative_to(root)}: a package root imports nothing"


def print_violations(root: Path) -> Iterator[str]:
    """Yield a sentence for every call of print outside the cli package."""
    for module, path in modules(root):
        if module == "derphole.cli" or module.startswith("derphole.cli."):
            continue
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.Name) and node.id == "print":
                yield f"{module}:{node.lineno}: only the cli package prints"


def hidden_input_violations(root: Path) -> Iterator[str]:
    """Yield a sentence for every clock or file that a pure module reads without an import."""
    for module, path in modules(root):
        if not is_pure(module):
            continue
        for node in ast.walk(parsed(path)):
            if not isinstance(node, ast.Call):
                continue
            called = ast.unparse(node.func)
            if CLOCK_CALL.search(called) or called == "open":
                yield f"{module}:{node.lineno}: {called}() below the I/O line"


def cycles(root: Path) -> Iterator[str]:
    """Yield a sentence for an import cycle; imports for types count too."""
    known = {module for module, _ in modules(root)}
    graph: dict[str, set[str]] = {}
    for module, path in modules(root):
        targets = {_owner(name, known) for name in imported_names(path)} - {None, module}
        graph[module] = {target for target in targets if target is not None}
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        yield f"import cycle: {' -> '.join(error.args[1])}"


def _owner(name: str, known: set[str]) -> str | None:
    """Return the module that an imported name is, or lies in."""
    if name in known:
        return name
    parent = name.rpartition(".")[0]
    return parent if parent in known else None


def size_violations(root: Path) -> Iterator[str]:
    """Yield a sentence for every module that is too long."""
    limits = [(path, MAX_MODULE_LINES) for _, path in modules(root)]
    limits += [(path, MAX_TEST_LINES) for path in sorted((root / "tests").rglob("*.py"))]
    for path, limit in limits:
        lines = _line_count(path)
        if lines > limit:
            yield f"{path.relative_to(root)}: {lines} lines, over {limit}: split it"


def _line_count(path: Path) -> int:
    return path.read_text().count("\n")


@dataclass(frozen=True, slots=True)
class Room:
    """A row of the table.

    Args:
        name: of the room.
        folder: dotted.
        modules: its modules in that folder; empty for everything in it, its own folders included.
        may_import: the rooms that its modules may import.
    """

    name: str
    folder: str
    modules: frozenset[str]
    may_import: frozenset[str]

    def holds(self, module: str) -> bool:
        """Tell whether a dotted module is in this room."""
        if self.modules:
            if module == self.folder:
                return "__init__" in self.modules
            inside = module.removeprefix(f"{self.folder}.")
            return inside != module and inside.split(".")[0] in self.modules
        return f"{module}.".startswith(f"{self.folder}.")


@functools.cache
def rooms() -> dict[str, Room]:
    """Return the table of rooms, by name, in the order of the document."""
    lines = ROOMS_DOCUMENT.read_text(encoding="utf-8").splitlines()
    begin = lines.index(ROOMS_HEAD) + 2
    table: dict[str, Room] = {}
    for line in lines[begin:]:
        if not line.startswith("|"):
            break
        name, where, _, may_import = (cell.strip() for cell in line.strip("|").split("|"))
        folder, _, names = where.replace("`", "").partition(": ")
        dotted = folder.strip("/").replace("/", ".")
        table[name] = Room(
            name, dotted, frozenset(names.split()), frozenset(may_import.split(", ")) - {""}
        )
    return table


def room_of(module: str) -> Room | None:
    """Return the room of a dotted module; the innermost one where folders lie in each other."""
    homes = [room for room in rooms().values() if room.holds(module)]
    return max(homes, key=lambda room: len(room.folder), default=None)


def room_imports(root: Path) -> Iterator[tuple[str, str, Room, Room]]:
    """Yield every import from one room into another: module, name, and both rooms."""
    known = {module for module, _ in modules(root)}
    for module, path in modules(root):
        here = room_of(module)
        for name in imported_names(path):
            target = _owner(name, known) or name
            there = room_of(target)
            if here is not None and there is not None and here is not there:
                yield module, name, here, there


def room_violations(root: Path) -> Iterator[str]:
    """Yield a sentence for every import that the table of rooms does not allow."""
    for module, name, here, there in room_imports(root):
        same = here.folder.split(".")[:2] == there.folder.split(".")[:2]
        is_of_derphole = here.folder.startswith("derphole") and there.folder.startswith("derphole")
        if (same or is_of_derphole) and there.name not in here.may_import:
            yield f"{module}: the room '{here.name}' may not import '{there.name}' ({name})"


def homeless(root: Path) -> list[str]:
    """Return the modules that need a room and have none."""
    scopes = ("tunnel.proto", "tunnel.net", "derphole")
    return [
        module
        for module, _ in modules(root)
        if any(f"{module}.".startswith(f"{scope}.") for scope in scopes) and room_of(module) is None
    ]


def unused_permissions(root: Path) -> list[str]:
    """Return what the table allows and no module does."""
    used = {(here.name, there.name) for _, _, here, there in room_imports(root)}
    return [
        f"{room.name} -> {other}"
        for room in rooms().values()
        for other in sorted(room.may_import)
        if (room.name, other) not in used
    ]


def reach_violations(root: Path) -> Iterator[str]:
    """Yield a sentence wherever derphole reaches through an object of tunnel."""
    for module, path in modules(root):
        if not module.startswith("derphole"):
            continue
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.Attribute) and node.attr in INNARDS:
                yield f"{module}:{node.lineno}: reaches into an object for .{node.attr}"


def unchecked_claims(root: Path) -> Iterator[str]:
    """Yield a sentence for every module that says it is pure and is not on the list."""
    for module, path in modules(root):
        docstring = ast.get_docstring(parsed(path)) or ""
        if SAYS_PURE.search(docstring) and not is_pure(module):
            yield f"{module}: says that it is pure, and nothing checks it"


def misnamed_modules(root: Path) -> Iterator[str]:
    """Yield a sentence for every module that a docstring or comment names and that is not there."""
    known = {module for module, _ in modules(root)}
    folders = {module.rpartition(".")[0] for module in known}
    for module, path in modules(root):
        for name in NAMED_MODULE.findall(path.read_text()):
            is_inside = _owner(name, known) in known - folders
            if name not in known and not is_inside:
                yield f"{module}: there is no {name}"


CHECKS = (
    layer_violations,
    misnamed_modules,
    unchecked_claims,
    room_violations,
    reach_violations,
    codec_violations,
    package_root_violations,
    print_violations,
    hidden_input_violations,
    cycles,
    size_violations,
)


def violations(root: Path) -> list[str]:
    """Return what every check has to say of the tree."""
    return [sentence for check in CHECKS for sentence in check(root)]
