"""Today's code says what was recorded and what docs/protocol.md writes: no change goes unnoticed."""

import sys
from pathlib import Path

import pytest
from code_comparison import differences
from protocol_document import PATH, Document
from test_protocol_document import cells_that_exchanges_show

from tunnel.crypto.aead import AeadId

sys.path.insert(0, str(Path(__file__).parent.parent / "vectors"))
from record_exchange import FILES, record  # noqa: E402 - it stands beside what it writes

TEXT = PATH.read_text(encoding="utf-8")


def cells_that_no_exchange_shows():
    shown = {cell for _, cell in cells_that_exchanges_show()}
    return sorted(Document(TEXT).cells() - shown, key=str)


@pytest.mark.parametrize("aead", list(AeadId), ids=lambda aead: aead.name)
def test_the_code_still_records_the_same_bytes(aead):
    assert record(aead) == FILES[aead].read_text(), (
        "the protocol has changed: say so in docs/protocol.md and CHANGELOG.md, then run "
        "tests/vectors/record_exchange.py"
    )


def test_the_document_and_the_code_agree():
    assert differences(Document(TEXT)) == []


@pytest.mark.parametrize(
    "cell", [pytest.param(cell, id=str(cell)) for cell in cells_that_no_exchange_shows()]
)
def test_a_changed_cell_that_no_exchange_shows_is_noticed(cell):
    for changed in Document(TEXT).changes(cell):
        try:
            found = differences(Document(changed))
        except Exception as error:  # noqa: BLE001 - what fails first, and how, depends on the cell
            found = [str(error)]
        assert found
