"""A code as a picture that a camera reads, in half blocks: two rows of modules to a line.

Black and white are named as colours, so that a terminal with a dark or a light background shows the
same picture; a border of two modules is enough for cameras and saves four columns.
"""

# Chosen.
BORDER = 2  # modules; the standard asks for four, and phones do with two
ERROR_LEVEL = "l"
# Numbers of xterm's 256 colours that no theme changes.
BLACK, WHITE = 16, 231
RESET = "\x1b[0m"
HALVES = {(False, False): " ", (True, False): "▀", (False, True): "▄", (True, True): "█"}


def qr_rows(text: str) -> list[str]:
    """Return the lines of a picture, without colours: a filled half is black.

    Every line has as many columns as the first.
    """
    import segno  # 20 ms

    code = segno.make(text, error=ERROR_LEVEL, micro=False)
    rows = [[bool(module) for module in row] for row in code.matrix_iter(border=BORDER)]
    if len(rows) % 2:
        rows.append([False] * len(rows[0]))
    return [
        "".join(HALVES[pair] for pair in zip(upper, lower, strict=True))
        for upper, lower in zip(rows[::2], rows[1::2], strict=True)
    ]


def coloured(row: str) -> str:
    """Return a line of a picture in explicit colours."""
    return f"\x1b[38;5;{BLACK};48;5;{WHITE}m{row}{RESET}"


def missing_room(rows: list[str], columns: int, lines: int) -> str | None:
    """Return a sentence where a terminal is too small for a picture, else None."""
    if columns >= len(rows[0]) and lines > len(rows):
        return None
    return (
        f"the QR code needs a terminal of {len(rows[0])} columns and {len(rows) + 1} lines, "
        f"and this one has {columns} and {lines}"
    )
