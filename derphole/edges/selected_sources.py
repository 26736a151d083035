"""Finds out, before the walk, what --exclude and --gitignore leave out of each source.  Blocks."""

import os
from collections.abc import Sequence
from contextlib import suppress

from derphole.edges.destination import NO_LINK
from derphole.edges.git_listing import listed_by_git
from derphole.edges.source_tree import OPEN_FILE, Omitted, Source
from derphole.transfer.selection import MAX_IGNORE_FILE, Patterns, Selection
from tunnel.values import replace

# Chosen.
MAX_ABOVE = 64  # folders above a source that are looked into


def selected(
    sources: Sequence[Source], excludes: Patterns | None, *, uses_gitignore: bool
) -> tuple[list[Source], list[Omitted]]:
    """Return the sources with what is sent of each, and what a person should know of it.

    Args:
        sources: in the order of an archive.
        excludes: the patterns of --exclude.
        uses_gitignore: whether what git ignores is left out.
    """
    chosen: list[Source] = []
    told: list[Omitted] = []
    for source in sources:
        selection = Selection(excludes)
        if uses_gitignore and os.path.isdir(source.path):
            told += _use_git(source, selection)
        chosen.append(replace(source, selection=selection))
    return chosen, told


def _use_git(source: Source, selection: Selection) -> list[Omitted]:
    listing = listed_by_git(source.path)
    if listing is not None:
        selection.listing = listing
        return (
            [] if listing.files else [Omitted(source.name, "has nothing that git does not ignore")]
        )
    selection.uses_ignore_files = True
    told: list[Omitted] = []
    folder = os.path.realpath(source.path)
    for above, text in _ignore_files_above(folder):
        prefix = os.path.relpath(folder, above) + b"/"
        told += [
            Omitted(os.path.join(above, b".gitignore"), f"has a line that is skipped, {fault}")
            for fault in selection.above(prefix, text)
        ]
    return told


def _ignore_files_above(folder: bytes) -> list[tuple[bytes, bytes]]:
    """Return the folders above one that are in the same repository, outermost first, with texts."""
    found: list[tuple[bytes, bytes]] = []
    for _ in range(MAX_ABOVE):
        if os.path.lexists(os.path.join(folder, b".git")):
            return found[::-1]
        parent = os.path.dirname(folder)
        if parent == folder:
            break
        folder = parent
        found.append((folder, _text(os.path.join(folder, b".gitignore"))))
    return []


def _text(path: bytes) -> bytes:
    with suppress(OSError):
        fd = os.open(path, OPEN_FILE | NO_LINK)
        try:
            return os.read(fd, MAX_IGNORE_FILE)
        finally:
            os.close(fd)
    return b""
