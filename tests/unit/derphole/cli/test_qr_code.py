"""The QR code of --qr: the picture is the matrix, in any terminal that is large enough."""

import pytest
import segno

from derphole.cli.frame.qr_code import HALVES, coloured, missing_room, qr_rows

TOKEN = "dhp1_" + "aB3_-" * 30


def test_the_picture_is_the_matrix():
    rows = qr_rows(TOKEN)
    halves = {letter: pair for pair, letter in HALVES.items()}
    seen = []
    for row in rows:
        seen.append([halves[letter][0] for letter in row])
        seen.append([halves[letter][1] for letter in row])

    code = segno.make(TOKEN, error="l", micro=False)
    matrix = [[bool(module) for module in row] for row in code.matrix_iter(border=2)]
    assert seen[: len(matrix)] == matrix
    assert not any(any(row) for row in seen[len(matrix) :])


def test_a_token_fits_a_terminal_of_80_columns_and_40_lines():
    rows = qr_rows(TOKEN)

    assert {len(row) for row in rows} == {len(rows[0])}
    assert len(rows[0]) <= 60
    assert missing_room(rows, 80, 40) is None


@pytest.mark.parametrize(("columns", "lines"), [(40, 60), (80, 24)])
def test_a_terminal_that_is_too_small_is_told_what_is_needed(columns, lines):
    rows = qr_rows(TOKEN)

    assert missing_room(rows, columns, lines) == (
        f"the QR code needs a terminal of {len(rows[0])} columns and {len(rows) + 1} lines, and "
        f"this one has {columns} and {lines}"
    )


def test_colours_are_named_in_every_line():
    assert coloured("x") == "\x1b[38;5;16;48;5;231mx\x1b[0m"
