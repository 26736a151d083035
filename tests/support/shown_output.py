"""Whether a program printed what a document shows: line by line, with what changes left open."""

import re
from collections.abc import Sequence

ELLIPSIS = "..."  # as a line of its own: any number of lines; behind a token: the rest of it
# (what a document shows, what may be printed in its place)
CHANGES = [
    (r"dhp1_[\w-]+(?:\.\.\.)?", r"dhp1_[\w-]+"),
    (r"dt(?:cli|srv)1_[\w-]+(?:\.\.\.)?", r"dt(?:cli|srv)1_[\w-]+"),
    (r"^Network check: [a-z-]+$", r"Network check: [a-z-]+"),
    (r"\b\d+-\d{6}(?:-[a-z]+)+", r"\d+-\d{6}(?:-[a-z]+)+(?: --relay \S+)?"),
    (r"by (?:direct \S+|relay .+)$", r"by (?:direct \S+|relay .+)"),
    (r"\bon relay .+$", r"on relay .+"),
    (r"https?://\S+", r"https?://\S+"),
    (r"\(STUN on \S+\)", r"\(STUN on \S+\)"),
    (r"SHA256:\S+", r"SHA256:\S+"),
    (r"(?:\d+\.){3}\d+(?::\d+)?", r"(?:\d+\.){3}\d+(?::\d+)?"),
    (r"\d{4}-\d\d-\d\d(?:T[\d:.]+Z)?", r"\d{4}-\d\d-\d\d(?:T[\d:.]+Z)?"),
    (r"\b\d+(?:\.\d+)?(?: ?[KMGT]i?B| ?B|)/s", r"\d+(?:\.\d+)?(?: ?[KMGT]i?B| ?B|)/s"),
    (r"\b\d+(?:\.\d+)?(?:B|[KMGT]iB)\b", r"\d+(?:\.\d+)?(?:B|[KMGT]iB)"),
    (r"\b\d+(?:\.\d+)? m?s\b", r"\d+(?:\.\d+)? m?s"),
    (r"\b[0-9a-f]{16}\b", r"[0-9a-f]{16}"),
]
_ANY_CHANGE = re.compile("|".join(f"({shown})" for shown, _ in CHANGES))
# Said when it is known, before or after something else.
_AT_ANY_TIME = re.compile(r"\d+ entries, ")
# Said only where something takes its time, which says more of the machine than of the command.
_OF_A_SLOW_MACHINE = re.compile(
    r"waiting for |nothing has moved for |going on, after |most of that time went into "
    r"|no answer from the other side for |the other side is back |relay trouble: "
    r"| *\d+% |\d+(\.\d+)?\w+ \[\d+:\d\d"  # how far it is, after five seconds
)


def pattern_of(line: str) -> str:
    """Return what a shown line stands for, as a regular expression."""
    parts, end = [], 0
    for found in _ANY_CHANGE.finditer(line):
        index = next(i for i, (shown, _) in enumerate(CHANGES) if found[i + 1] is not None)
        parts += [re.escape(line[end : found.start()]), CHANGES[index][1]]
        end = found.end()
    return "".join([*parts, re.escape(line[end:])])


def _apart(lines: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the lines whose order counts, and those that come at any time."""
    kept = [line.rstrip() for line in lines if not _OF_A_SLOW_MACHINE.match(line)]
    loose = [line for line in kept if _AT_ANY_TIME.match(line)]
    return [line for line in kept if line not in loose], loose


def difference(shown: Sequence[str], printed: Sequence[str], *, may_go_on: bool) -> str | None:
    """Return the first shown line that was not printed where it stands; None if all were.

    Args:
        shown: the lines of the document.
        printed: what the program printed.
        may_go_on: whether more may be printed behind the last shown line.
    """
    wanted, loose = _apart(shown)
    came, loose_there = _apart(printed)
    for line in loose:
        if not any(re.fullmatch(pattern_of(line), each) for each in loose_there):
            return line
    starts = {0}  # where the next shown line may be found
    is_open = False
    for line in wanted:
        if line == ELLIPSIS:
            is_open = True
            continue
        pattern = re.compile(pattern_of(line))
        if is_open and starts:
            starts = set(range(min(starts), len(came) + 1))
        starts = {at + 1 for at in starts if at < len(came) and pattern.fullmatch(came[at])}
        is_open = False
        if not starts:
            return line
    if may_go_on or is_open or len(came) in starts:
        return None
    return f"nothing behind line {max(starts)}"
