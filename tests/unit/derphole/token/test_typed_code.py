"""Codes as people type, paste and mangle them: read as they were meant, or refused with a reason."""

import os
import random

import pytest

from derphole.errors import CodeMistyped, NotAToken
from derphole.token.code import Code, drawn_code
from derphole.token.code_words import WORDS
from derphole.token.pasted import has_token_or_code, pasted_token, pasted_token_or_code
from derphole.token.typed_code import is_code, joined_words, parse_code

CODE = Code(12, "048219", ("cactus", "dentist"))
TEXT = "12-048219-cactus-dentist"
# What people make of a code without changing it: each must be read as the code.
KEPT = {
    "as it is": lambda t: t,
    "capitals": str.upper,
    "a capital in front of each word": str.title,
    "spaces": lambda t: t.replace("-", " "),
    "several spaces": lambda t: t.replace("-", "   "),
    "underscores": lambda t: t.replace("-", "_"),
    "spaces around hyphens": lambda t: t.replace("-", " - "),
    "en dashes": lambda t: t.replace("-", "\u2013"),
    "em dashes": lambda t: t.replace("-", "\u2014"),
    "non-breaking hyphens": lambda t: t.replace("-", "\u2011"),
    "minus signs": lambda t: t.replace("-", "\u2212"),
    "non-breaking spaces": lambda t: t.replace("-", "\u00a0"),
    "tabs": lambda t: t.replace("-", "\t"),
    "a line for each part": lambda t: t.replace("-", "\n"),
    "a line break in the middle": lambda t: t[:14] + "\n" + t[14:] if t[13] == "-" else t,
    "a blank on either side": lambda t: f"  {t} ",
    "a new line behind": lambda t: f"{t}\r\n",
    "quotes": lambda t: f'"{t}"',
    "curly quotes": lambda t: f"\u201c{t}\u201d",
    "back-quotes": lambda t: f"`{t}`",
    "angle brackets": lambda t: f"<{t}>",
    "brackets": lambda t: f"({t})",
    "a full stop behind": lambda t: f"{t}.",
    "an exclamation mark behind": lambda t: f"{t}!",
    "a comma behind": lambda t: f"{t},",
    "a label": lambda t: f"code: {t}",
    "another label": lambda t: f"Code {t}",
    "the whole command": lambda t: f"derphole receive {t}",
    "the command with its blanks": lambda t: f"    derphole receive {t}",
    "through npx": lambda t: f"npx -y derphole@1 receive {t}",
    "digits in two groups": lambda t: t[:6] + " " + t[6:] if t[2] == "-" else t,
    "an invisible mark in front": lambda t: f"\ufeff{t}",
    "an invisible mark inside": lambda t: t.replace("-", "\u200b-"),
    "four letters of each word": lambda t: "-".join(
        part[: 6 if part.isdigit() else 4] for part in t.split("-")
    ),
    "five letters of each word": lambda t: "-".join(
        part[: 6 if part.isdigit() else 5] for part in t.split("-")
    ),
    "full stops": lambda t: t.replace("-", "."),
    "commas": lambda t: t.replace("-", ", "),
    "a label without a blank": lambda t: f"code:{t}",
    "in a sentence": lambda t: f"please use {t}",
    "with the options of the command": lambda t: f"{t} --relay https://relay.example",
    "a hyphen behind": lambda t: f"{t}-",
    "hyphens doubled": lambda t: t.replace("-", "--"),
}
# What changes a code: each must be refused, and say why.
LOST = {
    "no region": (lambda t: t.split("-", 1)[1], "before its six digits is missing"),
    "no digits": (
        lambda t: "-".join([t.split("-")[0], *t.split("-")[2:]]),
        "six digits are missing",
    ),
    "a digit short": (lambda t: t.replace(t.split("-")[1], t.split("-")[1][1:]), "it has 5 digits"),
    "a digit too many": (
        lambda t: t.replace(t.split("-")[1], t.split("-")[1] + "7"),
        "it has 7 digits",
    ),
    "one word": (lambda t: "-".join(t.split("-")[:3]), "it has 1 word"),
    "no words": (lambda t: "-".join(t.split("-")[:2]), "it has no words"),
    "three letters of a word": (lambda t: t[: t.rindex("-") + 4], "not a word of any code|is not"),
    "a word of no list": (lambda t: f"{t[: t.rindex('-')]}-denim", "is not a word of any code"),
    "a region of no map": (lambda t: "70000" + t[t.index("-") :], "no relay map has a region"),
    "seven words": (lambda t: f"{t}-zoo-zoo-zoo-zoo-zoo", "and six are the most"),
    "words run together": (
        lambda t: t[: t.rindex("-")] + t[t.rindex("-") + 1 :],
        "between its words|is not a word",
    ),
    "both words mistyped": (
        lambda t: "-".join([*t.split("-")[:2], "cactos", "dentits"]),
        "is not a word",
    ),
    "a letter more": (lambda t: f"{t}x", "is not a word of any code; did you mean"),
    "a letter doubled": (lambda t: t + t[-1], "is not a word of any code; did you mean"),
    "a letter in the word's front changed": (
        lambda t: t[: t.rindex("-") + 1] + "q" + t[t.rindex("-") + 2 :],
        "is not a word",
    ),
    "something behind": (lambda t: f"{t} ok", "is not a word"),
}


def codes(count: int) -> list[Code]:
    rng = random.Random(17)
    drawn = (drawn_code(rng.randrange(1, 99), 2, rng.randbytes) for _ in range(10 * count))
    return [code for code in drawn if all(len(word) > 4 for word in code.words)][:count]


@pytest.mark.parametrize("name", KEPT)
def test_what_only_looks_other_is_the_same_code(name):
    for code in [CODE, *codes(4)]:
        mangled = KEPT[name](code.text)
        assert is_code(mangled), mangled
        assert parse_code(mangled) == code, mangled
        assert pasted_token_or_code(mangled) == code


@pytest.mark.parametrize("name", LOST)
def test_what_is_no_code_any_more_is_refused_with_a_reason(name):
    mangle, reason = LOST[name]
    for code in [CODE, *codes(4)]:
        with pytest.raises(CodeMistyped, match=reason) as caught:
            parse_code(mangle(code.text))
        assert "no try is spent yet" in str(caught.value)


def test_there_are_enough_of_them():
    assert 5 * (len(KEPT) + len(LOST)) >= 200


def test_a_word_near_another_is_named_and_never_taken():
    with pytest.raises(
        CodeMistyped, match=r'"cactu5" is not a word of any code; did you mean cactus\?'
    ):
        parse_code("12-048219-cactu5-dentist")
    with pytest.raises(CodeMistyped, match=r"did you mean act\?"):
        parse_code("12-048219-cactus-atc")
    with pytest.raises(CodeMistyped, match=r"did you mean boat or coat or oat|boat or goat"):
        parse_code("12-048219-cactus-xoat")


def test_a_word_of_three_letters_counts_whole():
    assert parse_code("12-048219-act-zoo").words == ("act", "zoo")
    assert parse_code("12-048219-acti-zoo").words == ("action", "zoo")
    with pytest.raises(CodeMistyped):
        parse_code("12-048219-ac-zoo")


def test_words_that_run_together_are_shown_apart():
    with pytest.raises(
        CodeMistyped, match=r"put a hyphen or a space between its words: cactus-dentist\?"
    ):
        parse_code("12-048219-cactusdentist")


@pytest.mark.parametrize("word", WORDS[::97])
def test_every_word_is_told_by_its_first_four_letters(word):
    assert parse_code(f"1-000000-{word[:4]}-{word}").words == (word, word)


def test_the_list_is_what_it_should_be():
    assert len(WORDS) == len(set(WORDS)) == 2048
    assert len({word[:4] for word in WORDS}) == 2048
    assert list(WORDS) == sorted(WORDS)
    assert (min(map(len, WORDS)), max(map(len, WORDS))) == (3, 8)


def test_codes_are_drawn_from_all_there_are():
    drawn = [drawn_code(7, 3, os.urandom) for _ in range(4000)]
    assert {len(code.words) for code in drawn} == {3}
    assert all(parse_code(code.text) == code for code in drawn)
    assert len({word for code in drawn for word in code.words}) > 1900
    assert len({code.digits[0] for code in drawn}) == 10
    assert all(len(code.digits) == 6 for code in drawn)


@pytest.mark.parametrize(
    ("typed", "joined"),
    [
        ("12 048219 cactus dentist", "12-048219-cactus-dentist"),
        ("12 048 219 cactus dentist", "12-048-219-cactus-dentist"),
        ("12-048219 cactus dentist", "12-048219-cactus-dentist"),
        ("12 048219-cactus-dentist", "12-048219-cactus-dentist"),
        ("12 048219 CACTUS dent", "12-048219-CACTUS-dent"),
        ("derphole receive 12 048219 cactus dentist", "derphole receive 12-048219-cactus-dentist"),
        ("12 048219 cactus dentist 127.0.0.1:80", "12-048219-cactus-dentist 127.0.0.1:80"),
        ("12 048219 cactus dentist data.bin", "12-048219-cactus-dentist data.bin"),
        ("12-048219-cactus-dentist 8080", "12-048219-cactus-dentist 8080"),
        ("8080 12-048219-cactus-dentist", "8080 12-048219-cactus-dentist"),
        ("2024 12-048219-cactus-dentist", "2024 12-048219-cactus-dentist"),
        ("8080 12 048219 cactus dentist", "8080 12-048219-cactus-dentist"),
        ("12 048219 cactus dentist photos", "12-048219-cactus-dentist photos"),
        ("12 048219 cactus dentist there", "12-048219-cactus-dentist there"),
        ("8080", "8080"),
        ("TOKEN 8080", "TOKEN 8080"),
        ("8080 TOKEN", "8080 TOKEN"),
        ("127.0.0.1:80 data", "127.0.0.1:80 data"),
        ("a b", "a b"),
    ],
)
def test_a_code_in_several_words_is_put_together(typed, joined):
    assert joined_words(typed.split(), lambda word: word == "there") == joined.split()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello",
        "8080",
        "127.0.0.1:3340",
        "unix:/tmp/x",
        "photo.jpg",
        "12",
        "dhp1_xyz",
        "2026-11-30",
        "2024-05-06-backup.tar.gz",
        "2024-report",
        "2024/05/data.bin",
        "/2024/05/x",
        "192-168-0-1.log",
        "20260506-123456",
        "build-1-123456.bin",
        "https://relay.example",
        "cactus dentist",
        "192.0.2.1",
    ],
)
def test_what_is_something_else_is_not_taken_for_a_code(text):
    assert not is_code(text)


def test_a_tunnel_says_that_it_takes_no_codes():
    with pytest.raises(NotAToken, match="it is a short code of `derphole`"):
        pasted_token(TEXT)
    assert has_token_or_code(TEXT)
    assert not has_token_or_code("data.bin")


def test_nothing_shows_the_words():
    assert "cactus" not in repr(CODE) + repr(CODE.terms)
    assert CODE.terms.words == b"cactus-dentist"
    assert CODE.terms.place == b"12-048219"
