"""Reads the tables of docs/protocol.md: constants, derivations and layouts; imports no code of ours.

    Table `name`: ...      the caption of a table that is read
    value                  a number, "a text", or hex 01 02
    fields                 a:2 b:[a] c:rest a*(d:1 e:2)

A `Document` remembers which cells were asked for, so that a test can change each of them in turn.
"""

import re
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

PATH = Path(__file__).parents[2] / "docs" / "protocol.md"
# Columns that name a row; what they say can be changed without changing a byte of the protocol.
NAMES = ("constant", "field", "frame", "layout", "message", "name", "token")
CAPTION = re.compile(r"Table `(\w+)`:")
FIELD = re.compile(r"(\w+)\*\(([^)]*)\)|(\w+):(\[\w+\]|\w+)")


class Unreadable(Exception):
    """The document, or bytes read by it, make no sense."""


@dataclass(frozen=True)
class Cell:
    """One cell of a table."""

    table: str
    row: str
    column: str
    line: int

    def __str__(self) -> str:
        return f"{self.table}.{self.row}.{self.column}"


class Row(dict):
    """The cells of a row, by column, and where they stand."""

    line = 0

    @property
    def name(self):
        return next(
            (self[column].strip("`") for column in NAMES if self.get(column, "")[:1] == "`"),
            self.get("name", ""),
        )


def cells_of(line):
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def value_of(cell):
    """Return the number, text or bytes that a cell writes."""
    try:
        if cell.startswith('"'):
            return cell[1:-1].encode("ascii")
        if cell.startswith("hex "):
            return bytes.fromhex(cell[4:])
        return float(cell) if "." in cell else int(cell, 0)
    except ValueError as error:
        raise Unreadable(f"{cell} is no value") from error


class Document:
    """The tables of the document."""

    def __init__(self, text):
        self.tables = {}
        self.read = set()
        self._lines = text.splitlines()
        for number, line in enumerate(self._lines):
            caption = CAPTION.match(line)
            if caption:
                self.tables[caption[1]] = self._table(number + 2)

    def _table(self, start):
        columns = cells_of(self._lines[start])
        rows = []
        for number, line in enumerate(self._lines[start + 2 :], start + 2):
            if not line.startswith("|"):
                break
            row = Row(zip(columns, cells_of(line), strict=True))
            row.line = number
            rows.append(row)
        return rows

    # -- what a reader asks -----------------------------------------------------------------

    def row(self, table, name):
        for row in self.tables[table]:
            if row.name == name:
                return row
        raise Unreadable(f"{table} has no {name}")

    def cell(self, table, row, column):
        self.read.add(Cell(table, row.name, column, row.line))
        return row[column]

    def constant(self, name):
        """Return a constant by its name."""
        for table, rows in self.tables.items():
            for row in rows:
                if row.get("constant") == f"`{name}`":
                    return value_of(self.cell(table, row, "value"))
        raise Unreadable(f"no constant {name}")

    def limit(self, name):
        """Return a constant that only bounds what is allowed: not every change of it shows."""
        read = set(self.read)
        value = self.constant(name)
        self.read = read
        return value

    def by_value(self, table, column, value):
        """Return the row of `table` whose `column` has this value."""
        for row in self.tables[table]:
            if value_of(row[column]) == value:
                self.cell(table, row, column)
                return row
        raise Unreadable(f"{table} has no {column} {value!r}")

    def fields(self, table, row):
        """Return the list of fields that a row writes."""
        column = next(name for name in ("fields", "body") if name in row)
        return self.cell(table, row, column).strip("`")

    def layout(self, table):
        """Return the list of fields of a table with offsets, as text."""
        end, fields = 0, []
        for row in self.tables[table]:
            size = int(self.cell(table, row, "size"))
            if int(row["offset"]) != end:
                raise Unreadable(f"{table}: {row.name} does not begin where the last field ends")
            end += size
            fields.append(f"{row.name}:{size}")
        return " ".join(fields)

    def derive(self, name, values, **more):
        """Return the key `name`, made of named `values`."""
        row = self.row("derivations", name)
        known = {**values, **more}
        parts = re.findall(r"`(\w+)`", self.cell("derivations", row, "parts"))
        key = known[self.cell("derivations", row, "key").strip("`")]
        size = value_of(self.cell("derivations", row, "size"))
        label = value_of(self.cell("derivations", row, "label"))
        person = self.constant("kdf_personalisation")
        length_size = self.constant("kdf_length_size")
        hasher = blake2b(key=key, person=person, digest_size=size)
        for part in (label, *(known[part] for part in parts)):
            hasher.update(len(part).to_bytes(length_size, "little") + part)
        return hasher.digest()

    # -- what a test changes ----------------------------------------------------------------

    def cells(self):
        """Return every cell that says something of the protocol."""
        found = set()
        for table, rows in self.tables.items():
            for row in rows:
                for column, text in row.items():
                    is_name = column in NAMES and not text.startswith('"')
                    if not is_name and column not in ("meaning", "offset"):
                        found.add(Cell(table, row.name, column, row.line))
        return found

    def changes(self, cell):
        """Return texts of the document in which this cell is another."""
        row = next(row for row in self.tables[cell.table] if row.line == cell.line)
        old = row[cell.column]
        if cell.column == "size" and "offset" in row:
            return [self._shortened(cell, int(old))]
        return [self._changed(row, cell.column, new) for new in other_cells(old)]

    def _changed(self, row, column, new):
        lines = list(self._lines)
        values = [new if name == column else text for name, text in row.items()]
        lines[row.line] = "| " + " | ".join(values) + " |"
        return "\n".join(lines)

    def _shortened(self, cell, size):
        """Make a field one byte shorter and move the later ones up."""
        lines = list(self._lines)
        for row in self.tables[cell.table]:
            if row.line >= cell.line:
                changed = dict(row)
                if row.line == cell.line:
                    changed["size"] = str(size - 1)
                else:
                    changed["offset"] = str(int(row["offset"]) - 1)
                lines[row.line] = "| " + " | ".join(changed.values()) + " |"
        return "\n".join(lines)


def other_cells(old):
    """Return what might stand in a cell in place of `old`."""
    if not old:
        return ["`seed` `seed:1`"]
    if old.startswith("`") and ":" in old:
        sizes = list(re.finditer(r":(\d+)", old))
        return [f"{old[: s.start()]}:{int(s[1]) + 1}{old[s.end() :]}" for s in sizes]
    if old.startswith("`"):
        names = re.findall(r"`\w+`", old)
        if len(names) == 1:
            return ["`issuer_derp`" if old == "`seed`" else "`seed`"]
        return [" ".join(names[1:]), " ".join(names[::-1])]
    value = value_of(old)
    if isinstance(value, bytes):
        flipped = bytes((value[0] ^ 1,)) + value[1:]
        return [
            f'"{flipped.decode("ascii")}"' if old.startswith('"') else f"hex {flipped.hex(' ')}"
        ]
    return [str(value + 1)]


def parse(fields, data):
    """Read `data` by a list of fields; returns (values, rest).  Bytes, never numbers."""
    values = {}
    for count, group, name, size in FIELD.findall(fields):
        if count:
            values[count + "*"] = items = []
            for _ in range(number(values[count])):
                item, data = parse(group, data)
                items.append(item)
            continue
        if size == "rest":
            wanted = len(data)
        else:
            wanted = number(values[size.strip("[]")]) if size.startswith("[") else int(size)
        if wanted > len(data):
            raise Unreadable(f"{name} is cut short")
        values[name], data = data[:wanted], data[wanted:]
    return values, data


def parse_whole(fields, data):
    """Read `data` by a list of fields; nothing may be left."""
    values, rest = parse(fields, data)
    if rest:
        raise Unreadable(f"{len(rest)} bytes are left over")
    return values


def number(data):
    return int.from_bytes(data, "little")
