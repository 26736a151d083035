# Invariant: what is typed is a code whose text reads as the same code, or CodeMistyped says why not.
from collections.abc import Iterator

from derphole.errors import CodeMistyped
from derphole.token.typed_code import is_code, joined_words, parse_code

WORDS = (b"12-048219-", b"cactus", b"dent", b" ", b"-", "\u2013".encode(), b"derphole receive ")
TYPED = ("12-048219-cactus-dentist", "12 048219 Cactus DENT", "0-000000-zoo-zoo-zoo-zoo-zoo-zoo")


def run(data: bytes) -> None:
    text = data[:2000].decode("utf-8", "replace")
    is_code(text)
    joined_words(text.split())
    try:
        code = parse_code(text)
    except CodeMistyped:
        return
    assert parse_code(code.text) == code
    assert is_code(code.text)


def seeds() -> Iterator[bytes]:
    yield from (text.encode() for text in TYPED)
