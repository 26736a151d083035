"""Usage: licences.py TREE > THIRD-PARTY-LICENSES.txt

Prints the licences of everything of others in a frozen program, for whoever is given it.
"""

import sys
from pathlib import Path

import components

RULE = "=" * 100
HEAD = """\
derphole is published under the licence in its file LICENSE.  The program contains works of others,
under these licences:
"""


def document(tree: Path) -> str:
    """Return the whole text."""
    parts: list[tuple[str, list[str]]] = []
    for distribution in components.packages():
        texts = components.texts_of(distribution)
        if not texts:
            sys.exit(f"{distribution.name} brings no licence: its text belongs into build/licenses")
        parts.append((f"{distribution.name} {distribution.version}", texts))
    vendored = components.ROOT / "derphole" / "cli" / "vendored" / "docopt-LICENSE-MIT"
    parts.append(("docopt 0.6.2", [vendored.read_text(encoding="utf-8")]))
    for library, _ in components.libraries(tree):
        title = " ".join(filter(None, (library.name, library.version())))
        text = (
            (components.TEXTS / library.text).read_text(encoding="utf-8")
            if library.text
            else f"Its licence ({library.licence}) is among those of {library.owner} above."
        )
        parts.append((title, [text]))
    lines = [HEAD, *(f"    {title}" for title, _ in parts), ""]
    for title, texts in parts:
        lines += [RULE, title, RULE, "", *(f"{text.strip()}\n" for text in texts)]
    return "\n".join(lines)


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    sys.stdout.write(document(Path(sys.argv[1])))
