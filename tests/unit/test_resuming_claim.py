"""The recorded resuming claim is read with docs/protocol.md alone, and our code still writes it."""

import ast
import json
import sys
from pathlib import Path

import pytest
from protocol_document import PATH, Document
from resuming_claim_reader import ResumingClaimReader

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "vectors"))
from record_resumption import FILE, record  # noqa: E402 - it stands beside what it writes

RECORDED = json.loads(FILE.read_text())
TEXT = PATH.read_text(encoding="utf-8")
# A cell of the tables that only a resuming claim shows, and what a mistake would write there.
CHANGES = [
    ('`minting_key` | "resume"', '`minting_key` | "resumed"'),
    ("`bare_header` `instance` | 16", "`instance` `bare_header` | 16"),
    ("`bare_header` `instance` | 16", "`bare_header` `instance` | 32"),
    ("| 0x04 | `resumption`", "| 0x15 | `resumption`"),
    ("`resumption` | `secret:16`", "`resumption` | `secret:12`"),
    ("| 48 | 16 | `proof`", "| 48 | 8 | `proof`"),
    ('`resumption_secret` | "resuming"', '`minting_key` | "resuming"'),
    ('| "resuming" | `ephemeral` | 16 |', '| "resuming" | `instance` | 16 |'),
    ('| "resuming" | `ephemeral` | 16 |', '| "resuming" | `ephemeral` | 32 |'),
]


def read(text=TEXT, **changed):
    return ResumingClaimReader(Document(text), {**RECORDED, **changed}).run()


def test_the_claim_is_read_with_the_document_alone():
    reader = read()

    assert reader.values["resumption_secret"].hex() == RECORDED["resumption_secret"]
    assert reader.values["bare_header"].hex() == RECORDED["bare_header"]
    assert reader.values["header"].hex() == RECORDED["resuming_header"]


def test_the_code_still_records_the_same_bytes():
    assert record() == FILE.read_text(), (
        "the protocol has changed: say so in docs/protocol.md and CHANGELOG.md, then run "
        "tests/vectors/record_resumption.py"
    )


@pytest.mark.parametrize(("written", "changed"), CHANGES)
def test_a_changed_cell_breaks_the_reading(written, changed):
    assert TEXT.count(written) == 1

    with pytest.raises(Exception):  # what fails first, and how, depends on the cell
        read(TEXT.replace(written, changed))


def test_another_instance_breaks_the_reading():
    claimer = {**RECORDED["claimer"], "instance": "00" * 16}

    with pytest.raises(Exception, match="resumption|secret|instance"):
        read(claimer=claimer)


def test_the_reader_imports_nothing_of_ours():
    tree = ast.parse((HERE / "resuming_claim_reader.py").read_text())
    names = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}

    assert names == {"exchange_reader", "nacl", "protocol_document"}
