r"""Which entries of a tree are sent: what --exclude and --gitignore leave out.

    --exclude       patterns as in a .gitignore of the folder that is sent; those without a slash
                    hold for what is named on the command line too
    --gitignore     in a repository with git at hand, what `git ls-files` lists is the truth and is
                    only looked up here; elsewhere a .gitignore holds below its folder, the deepest
                    one first, and its last line that matches decides

A folder that is left out is never looked into, as in git.  The patterns are `pathspec`'s, which is
imported late.  It is not git, so what it would get wrong is dealt with here: a line that it cannot
read is told and skipped, names with a newline match as git's do, and only \n ends a line.  Pure.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from tunnel.values import frozen

BOM = b"\xef\xbb\xbf"
# Chosen.
MAX_IGNORE_FILE = 1 << 20  # bytes of a .gitignore that are read

_CLASS = re.compile(r"\[[^\]]*\[[:.=]")  # [[:alpha:]], which `pathspec` takes for something else


class PatternUnreadable(ValueError):
    """A pattern is none.

    Args:
        line: the pattern.
        reason: why, as a clause.
    """

    def __init__(self, line: str, reason: str) -> None:
        super().__init__(f"{line!r}: {reason}")
        self.line = line
        self.reason = reason


class Patterns:
    """Patterns of git, in their order.

    Raises:
        PatternUnreadable: one of the lines is none.
    """

    def __init__(self, lines: Sequence[str]) -> None:
        from pathspec import GitIgnoreSpec  # 30 ms

        for line in lines:
            if _CLASS.search(line):
                raise PatternUnreadable(line, "classes such as [[:alpha:]] are not known here")
        try:
            self._spec = GitIgnoreSpec.from_lines(lines)
        except (ValueError, re.error) as error:  # GitIgnorePatternError is a ValueError
            raise PatternUnreadable(lines[0], "is not a pattern of git") from error

    def verdict(self, path: bytes, *, is_folder: bool) -> bool | None:
        """Tell whether a path is matched; False where a ! takes that back, None for neither."""
        text = path.decode("utf-8", "surrogateescape").replace("\n", "\0")
        return self._spec.check_file(f"{text}/" if is_folder else text).include


def read_excludes(lines: Sequence[str]) -> Patterns | None:
    """Read the patterns of --exclude; None for none; raises `PatternUnreadable`."""
    for line in lines:
        Patterns([line])
    return Patterns(lines) if lines else None


def read_ignore_file(text: bytes) -> tuple[Patterns | None, list[PatternUnreadable]]:
    """Read a .gitignore: its patterns, None without any, and the lines that are none."""
    good: list[str] = []
    bad: list[PatternUnreadable] = []
    for raw in text.removeprefix(BOM).split(b"\n"):
        line = raw.removesuffix(b"\r").decode("utf-8", "surrogateescape")
        if not line.strip(" ") or line.startswith("#"):
            continue
        try:
            Patterns([line])
        except PatternUnreadable as fault:
            bad.append(fault)
        else:
            good.append(line)
    return (Patterns(good) if good else None), bad


@frozen
class GitListing:
    """What git says belongs to a folder.

    Args:
        files: paths, relative to the folder.
        folders: those that something of it is in.
    """

    files: frozenset[bytes]
    folders: frozenset[bytes]


def git_listing(paths: Iterable[bytes]) -> GitListing:
    """Return the listing of these files and links."""
    files = frozenset(paths)
    folders: set[bytes] = set()
    for path in files:
        parent = path.rpartition(b"/")[0]
        while parent and parent not in folders:
            folders.add(parent)
            parent = parent.rpartition(b"/")[0]
    return GitListing(files, frozenset(folders))


@dataclass(slots=True)
class Selection:
    """What of one source is sent; the walk tells it where it is.

    Attributes:
        excludes: of --exclude.
        uses_ignore_files: whether the walk hands in the .gitignore of each folder.
        listing: what git says, where it could be asked.
    """

    excludes: Patterns | None = None
    uses_ignore_files: bool = False
    listing: GitListing | None = None
    _ignores: list[tuple[bytes, bool, Patterns]] = field(default_factory=list)

    def takes_source(self, name: bytes, *, is_folder: bool) -> bool:
        """Tell whether something that was named on the command line is sent."""
        # Patterns with a slash are about what is in it, so it gets a folder of its own around it.
        return not _matches(self.excludes, b"\0/" + name, is_folder)

    def takes(self, path: bytes, *, is_folder: bool) -> bool:
        """Tell whether an entry is sent.

        Args:
            path: relative to the source.
            is_folder: a symbolic link to one is none.
        """
        if _matches(self.excludes, path, is_folder):
            return False
        if self.listing is not None:
            return path in (self.listing.folders if is_folder else self.listing.files)
        if not self.uses_ignore_files:
            return True
        if path.rpartition(b"/")[2] == b".git":
            return False
        for prefix, is_above, patterns in reversed(self._ignores):
            inside = prefix + path if is_above else path[len(prefix) :]
            verdict = patterns.verdict(inside, is_folder=is_folder)
            if verdict is not None:
                return not verdict
        return True

    def entered(self, path: bytes, text: bytes) -> list[PatternUnreadable]:
        """Take the .gitignore of a folder that is entered; return its lines that are not patterns.

        Args:
            path: of the folder, relative to the source; empty for the source.
            text: of the file.
        """
        self.left(path)
        patterns, bad = read_ignore_file(text)
        if patterns is not None:
            self._ignores.append((path + b"/" if path else b"", False, patterns))
        return bad

    def left(self, path: bytes) -> None:
        """Forget what does not hold in a folder that the walk goes on in or below."""
        inside = path + b"/"
        while self._ignores:
            prefix, is_above, _ = self._ignores[-1]
            if is_above or not prefix or inside.startswith(prefix):
                return
            self._ignores.pop()

    def above(self, prefix: bytes, text: bytes) -> list[PatternUnreadable]:
        """Take a .gitignore of a folder above the source, the outermost first.

        Args:
            prefix: the path from that folder to the source, with / at its end.
            text: of the file.
        """
        patterns, bad = read_ignore_file(text)
        if patterns is not None:
            self._ignores.append((prefix, True, patterns))
        return bad


def _matches(patterns: Patterns | None, path: bytes, is_folder: bool) -> bool:
    return patterns is not None and patterns.verdict(path, is_folder=is_folder) is True
