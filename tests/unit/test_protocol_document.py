"""docs/protocol.md is enough to read what our machines say, and a changed constant is noticed."""

import ast
import json
from hashlib import sha256
from pathlib import Path

import pytest
from exchange_reader import ExchangeReader
from protocol_document import PATH, Document, number

HERE = Path(__file__).parent
VECTORS = HERE.parent / "vectors"
EXCHANGES = {
    name: json.loads((VECTORS / f"exchange_{name}.json").read_text())
    for name in ("chacha20_poly1305", "aegis_256")
}
TEXT = PATH.read_text(encoding="utf-8")
STANDARD = {"ast", "base64", "dataclasses", "hashlib", "hmac", "json", "pathlib", "re"}
ALLOWED = STANDARD | {"nacl", "xxhash", "pytest", "exchange_reader", "protocol_document"}
# High bytes of numbers that are zero in any exchange; test_recorded_exchange.py checks them.
UNSEEN = {"decision_payload.clock_ms.size", "nonces.nonce.fields"}


def read(name, text=TEXT):
    return ExchangeReader(Document(text), EXCHANGES[name]).run()


def cells_read(name):
    return read(name).document.read


def cells_that_exchanges_show():
    """Return (exchange, cell) for every cell the reader asked for, once."""
    shown = {}
    for name in EXCHANGES:
        for cell in cells_read(name):
            if str(cell) not in UNSEEN:
                shown[cell] = name
    return sorted(((name, cell) for cell, name in shown.items()), key=lambda entry: str(entry[1]))


@pytest.mark.parametrize("name", EXCHANGES)
def test_a_recorded_exchange_is_read_with_the_document_alone(name):
    reader, exchange = read(name), EXCHANGES[name]

    assert len(reader.data) == exchange["data"]["size"]
    assert sha256(reader.data).hexdigest() == exchange["data"]["sha256"]
    assert reader.data.startswith(b"line 00000 of the recorded stream\n")


@pytest.mark.parametrize("name", EXCHANGES)
def test_token_claim_and_decision_say_what_went_in(name):
    reader, exchange = read(name), EXCHANGES[name]

    assert reader.regions == [10, 302]
    assert reader.token["name"].decode() == exchange["grant"]["name"]
    assert number(reader.token["expiry"]) == exchange["grant"]["expires_at"]
    assert reader.values["header"].hex() == exchange["grant"]["header"]
    assert reader.claim["instance"].hex() == exchange["claimer"]["instance"]
    assert number(reader.claim["link_index"]) == exchange["claimer"]["link_index"]
    assert number(reader.claim["features"]) == number(reader.decision["features"]) == 0
    assert number(reader.claim["required"]) == number(reader.decision["lacking"]) == 0
    assert number(reader.claim["relay_grant"]) == number(reader.decision["relay_grant"]) == 24
    assert number(reader.decision["link_index"]) == exchange["issuer"]["link_index"]
    assert number(reader.decision["holds_link"]) == 0
    assert number(reader.decision["clock_ms"]) == exchange["issuer"]["clock_ms"]


@pytest.mark.parametrize("name", EXCHANGES)
def test_what_was_lost_came_again_under_a_new_number(name):
    claimer = read(name).senders["claimer"]

    assert list(claimer.arrived.values()).count(False) == 1
    assert claimer.lost_bytes > 1024
    assert claimer.streams[2].is_whole


@pytest.mark.parametrize("name", EXCHANGES)
def test_every_frame_in_use_was_recorded(name):
    senders = read(name).senders.values()
    frames = {kind for sender in senders for kind, _ in sender.frames}

    assert frames == {"ping", "ack", "stream", "reset", "stop", "credit", "close"}


@pytest.mark.parametrize("name", EXCHANGES)
def test_an_exchange_has_general_and_bulk_packets(name):
    reader = read(name)

    assert reader.bulk_count >= 3
    assert len(reader.packets) - 2 - reader.bulk_count >= 10


@pytest.mark.parametrize(
    ("name", "cell"),
    [pytest.param(name, cell, id=str(cell)) for name, cell in cells_that_exchanges_show()],
)
def test_a_changed_cell_breaks_the_reading(name, cell):
    document = Document(TEXT)

    for changed in document.changes(cell):
        with pytest.raises(Exception):  # what fails first, and how, depends on the cell
            assert_as_recorded(name, changed)


def assert_as_recorded(name, text):
    reader, exchange = read(name, text), EXCHANGES[name]
    assert sha256(reader.data).hexdigest() == exchange["data"]["sha256"]


@pytest.mark.parametrize(
    "path", [HERE / "protocol_document.py", HERE / "exchange_reader.py", Path(__file__)]
)
def test_the_second_implementation_imports_nothing_of_ours(path):
    tree = ast.parse(path.read_text())
    names = [
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    ]
    names += [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]

    assert {name.partition(".")[0] for name in names} <= ALLOWED
