#!/usr/bin/env python3
"""Count what says something of the shape of the tree; one column for each checkout.

Usage: scripts/counts.py [FOLDER...]

    imported modules   of tunnel, by derphole, late imports included
    private reaches    `x._y` of something that is not self or cls, in tests
    isinstance         asked of paths and machines, in tunnel and derphole
    modules a folder   the most there are, and where
    README             words
"""

import ast
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

# Classes of paths, links, issuers and claimers: what a contract would make needless to ask for.
ASKED = re.compile(r"(Path|Machine|Issuer|Claimer|PeerLink|Controller)\b")


def trees(root: Path, *folders: str) -> Iterator[tuple[Path, ast.Module]]:
    for folder in folders:
        for path in sorted((root / folder).rglob("*.py")):
            yield path, ast.parse(path.read_text(encoding="utf-8"))


def module_of(root: Path, name: str) -> str | None:
    """Return the module that a dotted name is, or lies in."""
    while name:
        path = root / name.replace(".", "/")
        if path.with_suffix(".py").exists() or (path / "__init__.py").exists():
            return name
        name = name.rpartition(".")[0]
    return None


def imported_modules(root: Path) -> int:
    found = set()
    for _, tree in trees(root, "derphole"):
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            else:
                continue
            found |= {module_of(root, name) for name in names if name.startswith("tunnel.")}
    return len(found)


def private_reaches(root: Path) -> int:
    count = 0
    for _, tree in trees(root, "tests"):
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and re.match(r"_[a-z]", node.attr):
                is_own = isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
                count += not is_own
    return count


def questions_of_kind(root: Path) -> int:
    count = 0
    for _, tree in trees(root, "tunnel", "derphole"):
        for node in ast.walk(tree):
            is_question = isinstance(node, ast.Call) and ast.unparse(node.func) == "isinstance"
            count += is_question and bool(ASKED.search(ast.unparse(node.args[1])))
    return count


def fullest_folder(root: Path) -> str:
    folders: Counter[Path] = Counter()
    for path, _ in trees(root, "tunnel", "derphole"):
        folders[path.parent] += path.name != "__init__.py"
    folder, count = folders.most_common(1)[0]
    return f"{count} in {folder.relative_to(root)}"


def readme_words(root: Path) -> int:
    return len((root / "README.md").read_text(encoding="utf-8").split())


ROWS = {
    "modules of tunnel that derphole imports": imported_modules,
    "private reaches of tests": private_reaches,
    "isinstance on paths and machines": questions_of_kind,
    "modules in the fullest folder": fullest_folder,
    "words of the README": readme_words,
}


def main() -> None:
    if {"-h", "--help"} & set(sys.argv[1:]):
        print(__doc__.strip())
        return
    roots = [Path(argument) for argument in sys.argv[1:]] or [Path(__file__).resolve().parents[1]]
    table = [("", *(root.resolve().name for root in roots))]
    table += [(name, *(str(count(root)) for root in roots)) for name, count in ROWS.items()]
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    for row in table:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print("  ".join(cells).rstrip())


if __name__ == "__main__":
    main()
