"""The table that a check prints, and figures as people read them.  Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

GAP = "  "
UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
NAMES = {size: f"{letter}iB" for letter, size in UNITS.items()}


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table.

    Args:
        what: what was looked at.
        seen: what was seen.
        must: what it is held to; the empty text for a figure that is only told.
        is_ok: whether it was so.
    """

    what: str
    seen: str
    must: str = ""
    is_ok: bool = True


def table(rows: Sequence[Row]) -> str:
    """Return the table, with a last line that counts."""
    lines = [("what", "seen", "must", "")]
    for row in rows:
        verdict = ("ok" if row.is_ok else "FAILED") if row.must else ""
        lines.append((row.what, row.seen, row.must, verdict))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    shown = [
        GAP.join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()
        for cells in lines
    ]
    held = [row for row in rows if row.must]
    good = sum(row.is_ok for row in held)
    return "\n".join([*shown, f"{good} of {len(held)} as they must be"])


def parse_size(text: str) -> int:
    """Return a number of bytes from "4096", "64K", "8M" or "1G"; raises ValueError."""
    digits, factor = (text[:-1], UNITS[text[-1]]) if text[-1:] in UNITS else (text, 1)
    if not (digits.isascii() and digits.isdigit() and int(digits)):
        raise ValueError(f"{text!r} is no size; write 4096, 64K, 8M or 1G")
    return int(digits) * factor


def size_text(size: int) -> str:
    """Return a size in the largest unit that it fills."""
    for factor in sorted(NAMES, reverse=True):
        if size >= factor:
            return (
                f"{size / factor:.0f} {NAMES[factor]}"
                if not size % factor
                else (f"{size / factor:.1f} {NAMES[factor]}")
            )
    return f"{size} bytes"


def rate_text(size: int, seconds: float) -> str:
    """Return a rate in megabits a second."""
    return f"{8 * size / 1e6 / max(seconds, 1e-6):.1f} Mbit/s"


def seconds_text(seconds: float | None) -> str:
    """Return a time; "never" for none."""
    return "never" if seconds is None else f"{seconds:.2f} s"
