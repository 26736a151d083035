"""The recorded claim of another version is read with docs/protocol.md alone, and so is its answer."""

import ast
import json
import sys
from pathlib import Path

import pytest
from other_version_reader import OtherVersionReader
from protocol_document import PATH, Document

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "vectors"))
from record_other_version import FILE, record  # noqa: E402 - it stands beside what it writes

RECORDED = json.loads(FILE.read_text())
TEXT = PATH.read_text(encoding="utf-8")
# Cells that only a claim of another version shows, and what a mistake would write there.
CHANGES = [
    ("| `other_version_key` | `grant_secret` |", "| `other_version_key` | `minting_key` |"),
    ('"other version" | `claim_mac` |', '"other version" | `header` |'),
    ('"other version" | `claim_mac` | 32 |', '"other version" | `claim_mac` | 16 |'),
    ("| `kind_other_version` | 3 |", "| `kind_other_version` | 4 |"),
    ("| `smallest_claim` | 152 |", "| `smallest_claim` | 1000 |"),
    ("| `largest_claim` | 1024 |", "| `largest_claim` | 216 |"),
    ("| 8 | 80 | `sealed_payload` | 64", "| 8 | 64 | `sealed_payload` | 64"),
    ("| 0 | 24 | `program` |", "| 0 | 23 | `program` |"),
]


def read(text=TEXT, **changed):
    return OtherVersionReader(Document(text), {**RECORDED, **changed}).run()


def test_claim_and_answer_are_read_with_the_document_alone():
    assert read().program.decode() == RECORDED["program"]


def test_the_answer_is_no_larger_than_any_claim():
    document = Document(TEXT)

    assert len(RECORDED["answer"]) // 2 < document.constant("smallest_claim")


def test_the_code_still_records_the_same_bytes():
    assert record() == FILE.read_text(), (
        "what is the same in every version has changed: no other version can read that"
    )


@pytest.mark.parametrize(("written", "changed"), CHANGES)
def test_a_changed_cell_breaks_the_reading(written, changed):
    assert TEXT.count(written) == 1

    with pytest.raises(Exception):  # what fails first, and how, depends on the cell
        read(TEXT.replace(written, changed))


@pytest.mark.parametrize("position", [0, 6, 7, 8, 60, -1])
def test_a_changed_answer_is_not_read(position):
    answer = bytearray.fromhex(RECORDED["answer"])
    answer[position] ^= 1

    with pytest.raises(Exception):
        read(answer=answer.hex())


def test_the_reader_imports_nothing_of_ours():
    tree = ast.parse((HERE / "other_version_reader.py").read_text())
    names = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}

    assert names == {"exchange_reader", "nacl", "protocol_document"}
