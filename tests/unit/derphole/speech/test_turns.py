"""Every stage of a conversation with every message: the table of docs/protocol.md, cell by cell."""

import re
from pathlib import Path

import pytest

from derphole.errors import PeerBrokeProtocol
from derphole.speech.access_messages import Access, AccessKey, AccessVerdict
from derphole.speech.endings import Ending, ending_of
from derphole.speech.messages import Confirm, ConfirmAck, Fin, Resumption, Total
from derphole.speech.transfer_messages import (
    Answer,
    Checked,
    HaveChecked,
    HaveEnd,
    HaveEntries,
    HaveParts,
    Kind,
    Offer,
    Origin,
    Part,
    Pieces,
    Progress,
    Result,
    Start,
    Totals,
    Verdict,
)
from derphole.speech.turns import MAY_COME, NAMES, Stage, check_turn, messages_ended, unreadable

DOCUMENT = (Path(__file__).parents[4] / "docs" / "protocol.md").read_text()
MESSAGES = {
    "fin": Fin(1, bytes(16)),
    "confirm": Confirm(1, bytes(16)),
    "confirm_ack": ConfirmAck(),
    "resumption": Resumption(bytes(16)),
    "total": Total(1),
    "offer": Offer(Kind.TEXT, bytes(16), b""),
    "totals": Totals(1, 1),
    "answer": Answer(Verdict.GO),
    "have_parts": HaveParts((Part(bytes(16), 1),)),
    "have_entries": HaveEntries((bytes(16),)),
    "have_checked": HaveChecked((Checked(bytes(16), bytes(16)),)),
    "have_end": HaveEnd(),
    "start": Start(Origin.ANEW),
    "pieces": Pieces((bytes(16),)),
    "progress": Progress(1),
    "result": Result(1, 0),
    "key": AccessKey(b"ssh-ed25519 AAAA"),
    "access": Access(AccessVerdict.STORED),
}


def documented() -> dict[str, list[str]]:
    """Return what may come in each stage, as the document has it."""
    table = DOCUMENT.partition("Table `turns`:")[2].partition("\n\n")[2].partition("\n\n")[0]
    rows = [[cell.strip(" `") for cell in line.strip("|").split("|")] for line in table.split("\n")]
    assert rows[0][:2] == ["name", "may come"]
    return {row[0]: re.findall(r"\w+", row[1]) for row in rows[2:]}


def test_the_document_has_every_stage_and_every_message():
    assert list(MESSAGES) == [name.lower().replace("-", "_") for name in NAMES.values()]
    assert list(documented()) == [stage.name.lower() for stage in Stage]
    assert list(MAY_COME) == list(Stage)


@pytest.mark.parametrize("name", MESSAGES)
@pytest.mark.parametrize("stage", Stage)
def test_a_message_passes_in_its_turn_only(stage, name):
    message = MESSAGES[name]

    if name in documented()[stage.name.lower()]:
        check_turn(stage, message)
        return
    with pytest.raises(PeerBrokeProtocol) as caught:
        check_turn(stage, message)
    assert caught.value.detail == f"{NAMES[type(message)]} was sent {stage.value}"
    assert ending_of(caught.value) == (Ending.PROTOCOL_VIOLATION, caught.value.detail)


@pytest.mark.parametrize("stage", Stage)
def test_the_end_of_the_messages_and_nonsense_have_words_for_every_stage(stage):
    details = {messages_ended(stage).detail, unreadable(stage, "the bytes end").detail}

    assert len(details) == 2
    assert all(stage.value in detail for detail in details)
