"""`pipe`: which word is the token and which the file."""

from pathlib import Path

import pytest

from derphole.cli.commands.pipe import told_apart
from derphole.cli.frame.arguments import Arguments
from derphole.errors import UsageError

TOKEN = "dhp1_" + "x" * 150
HASH = "0a" * 32  # a name of letters that a token has, too


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    for name in ("original", HASH):
        (tmp_path / name).touch()
    return "original"


def found(*words: str, option: str | None = None, environment: str = "") -> tuple[object, object]:
    named = dict(zip(("TOKEN", "FILE"), (*words, None, None), strict=False))
    values = {**named, "--token": None, "--token-file": option, "--token-stdin": False}
    after = told_apart(Arguments(values, {"DERPHOLE_TOKEN": environment})).values
    return after["TOKEN"], after["FILE"]


def test_token_and_file_come_in_any_order(file: str) -> None:
    assert found(TOKEN, file) == found(file, TOKEN) == (TOKEN, file)
    assert found(TOKEN, HASH) == (TOKEN, HASH)
    assert found(TOKEN, "-") == (TOKEN, "-")


def test_a_single_word_is_a_token_unless_that_is_given_elsewhere(file: str) -> None:
    assert found(TOKEN) == (TOKEN, None)
    assert found("nothing-like-a-file") == ("nothing-like-a-file", None)
    assert found("https://relay.example.com") == ("https://relay.example.com", None)
    assert found() == (None, None)
    assert found("") == ("", None)
    for given in ({"option": "token.txt"}, {"environment": TOKEN}):
        assert found(file, **given) == (None, file)
        assert found("no-such-file", **given) == (None, "no-such-file")
        assert found(TOKEN, **given) == (TOKEN, None)


@pytest.mark.parametrize("word", ["original", HASH])
def test_a_file_without_a_token_is_not_taken_for_one(file: str, word: str) -> None:
    with pytest.raises(UsageError, match=f"^{word} is a file, and the token is missing; run `derp"):
        found(word)


@pytest.mark.parametrize("word", ["original.bin", "./original.bin", "/nowhere/original"])
def test_a_file_that_is_not_there_is_not_taken_for_a_token(file: str, word: str) -> None:
    with pytest.raises(UsageError, match="neither a token nor a file that is there; use `derphole"):
        found(word)
