"""Every error says what happened and what to do; docs/errors.md is what the tree says."""

import importlib.util
from pathlib import Path

import pytest

from derphole.errors import DerpholeError, Interrupted, PeerAborted, TokenCut, TokenExpired
from derphole.errors.base import filled

ROOT = Path(__file__).resolve().parents[3]
GROUPS = {"DerpholeError", "NotTaken", "TokenError", "TransferError"}
# Two sides of one case, and a reason that is only known by number.
SHARED_CODES = {"protocol", "claim-refused"}


def script():
    spec = importlib.util.spec_from_file_location("error_list", ROOT / "scripts" / "error_list.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def tree():
    """Return every error class of the programs."""
    kinds, waiting = [Interrupted], [DerpholeError]
    while waiting:
        kind = waiting.pop()
        waiting += kind.__subclasses__()
        if kind.__module__.startswith("derphole."):
            kinds.append(kind)
    return kinds


TOLD = sorted((kind for kind in tree() if kind.__name__ not in GROUPS), key=lambda kind: kind.code)


def test_the_document_is_what_the_script_prints():
    document = script().document()

    assert (ROOT / "docs" / "errors.md").read_text() == document, (
        "run: .venv/bin/python scripts/error_list.py > docs/errors.md"
    )


def test_every_error_is_in_the_document():
    listed = [kind for _, kinds in script().subjects() for kind in kinds]

    assert len(listed) == len(set(listed))
    assert set(listed) == set(TOLD)


@pytest.mark.parametrize("kind", TOLD, ids=lambda kind: kind.__name__)
def test_every_error_has_a_code_a_sentence_and_a_next_step(kind):
    assert kind.code
    assert kind.says
    assert len(kind.next_step.split()) >= 3


def test_what_only_groups_others_says_nothing():
    for kind in tree():
        assert hasattr(kind, "code") == hasattr(kind, "says") == (kind.__name__ not in GROUPS)


def test_codes_are_words_of_their_own():
    codes = [kind.code for kind in TOLD if kind.code not in SHARED_CODES]

    assert len(set(codes)) == len(codes)


def test_all_errors_live_in_one_tree():
    outside = [kind for kind in tree() if not kind.__module__.startswith("derphole.errors.")]

    assert outside == []


def test_an_optional_part_goes_with_its_fact():
    assert filled("gone[ ({why})]", {"why": None}) == "gone"
    assert filled("gone[ ({why})]", {"why": "lost"}) == "gone (lost)"


def test_text_from_outside_is_never_taken_for_a_template():
    hostile = "{code} [x] {0} {{}}"

    assert str(PeerAborted(hostile)) == f"the other side stopped: {hostile}; see its messages"
    assert str(TokenCut(50, None)).startswith("the token is cut short (50 characters)")
    assert str(TokenCut(50, 130)).startswith("the token is cut short (50 of 130 characters)")
    assert "this machine's clock says" in str(TokenExpired(None, 0.0))
