"""A token as people paste it: in quotes or brackets, behind a label, in a command line, in pieces.

    "dhp1_..."   <dhp1_...>   token: dhp1_...   derphole pipe dhp1_... < file   dhp1_AA (newline) BB

Where exactly one good token stands it is found; the checksum says which pieces belong to it.  Any
other text gets a sentence of its own, which never repeats the text.  Pure.
"""

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from derphole.errors import CodeMistyped, NotAToken, SeveralTokens, TokenDamaged, TokenError
from derphole.token.text import (
    BASE64URL,
    GO_SESSION_TOKEN_CHARACTERS,
    Token,
    parse_token,
    token_text,
)

if TYPE_CHECKING:
    from derphole.token.code import Code

# Chosen: a page of a terminal; whoever pastes more has not looked at it.
MAX_PASTED_CHARACTERS = 4096
# Chosen: a token that is broken into lines has none shorter than this but the last.
LEAST_LINE = 16
# Chosen: no word of a language has so many letters.
LEAST_TOKEN_WORD = 60

# Where a token of ours, of another version or of the Go tool begins; a telephone may have put a
# capital in front.
START = re.compile(
    r"(?<![A-Za-z0-9_-])(?:[Dd](?:hp|tsrv|tcli)[0-9]{1,4}_|dt[sc]1_|DT1(?=[0-9A-Z]{6}))"
)
INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff]")
MARKED_LINE = re.compile(r"^[ \t]*[>|][ \t]*", re.MULTILINE)  # a quoted mail
# Quotes and brackets of several languages, and what stands around a word.
AROUND = "\"'`<>()[]{}.,;:= \t\r\n\u00ab\u00bb\u2018\u2019\u201a\u201c\u201d\u201e\u2039\u203a"
PLACEHOLDERS = ("token", "code", "your-token", "your_token", "the-token")
URL = re.compile(r"\b[a-z]{2,8}://", re.IGNORECASE)
COMMAND = re.compile(r"derphole\b|derptun\b|npx ")
VARIABLE = re.compile(r"\$\{?\w+\}?|%\w+%")
ADDRESS = re.compile(r"[0-9]{1,5}|[\w.-]*:[0-9]{1,5}|\[[0-9A-Fa-f:.%]+\]:[0-9]{1,5}")


def pasted_token(text: str) -> Token:
    """Return the one token in a text.

    Raises `SeveralTokens`; what is wrong with the first token there is; `NotAToken` without any.
    """
    if len(text) > MAX_PASTED_CHARACTERS:
        raise NotAToken(f"it has {len(text)} characters, more than any token")
    text = MARKED_LINE.sub("", INVISIBLE.sub("", text))
    good: dict[str, Token] = {}
    failures: list[TokenError] = []
    for region in _regions(text):
        try:
            token = _token_at_start(region)
        except TokenError as error:
            failures.append(error)
        else:
            good[token_text(token)] = token
    if len(good) > 1:
        raise SeveralTokens(len(good))
    if good:
        return next(iter(good.values()))
    if failures:
        raise failures[0]
    return _without_start(text)


def pasted_token_or_code(text: str) -> "Token | Code":
    """Return the one token in a text, or the code that it is; raises what is wrong with it."""
    if not has_token(text):
        from derphole.token.typed_code import is_code, parse_code

        if is_code(text):
            return parse_code(text)
    return pasted_token(text)


def has_token_or_code(text: str) -> bool:
    """Tell whether something in a text looks like a token, or all of it like a code."""
    if has_token(text):
        return True
    from derphole.token.typed_code import is_code

    return is_code(text)


def has_token(text: str) -> bool:
    """Tell whether something in a text looks like a token, so that nobody else may see it."""
    return START.search(text) is not None


def _regions(text: str) -> Iterator[str]:
    """Yield the text from each beginning of a token to the next one."""
    starts = [match.start() for match in START.finditer(text)]
    for start, end in pairwise([*starts, len(text)]):
        yield text[start:end]


def _token_at_start(region: str) -> Token:
    """Return the token that a text begins with, in one piece or several.

    Raises what is wrong with it.
    """
    words = region.split()
    if words[0].startswith(("Dh", "Dt")):
        words[0] = "d" + words[0][1:]
    joined = ""
    for word in words:
        piece = _piece(word)
        joined += piece
        try:
            return parse_token(joined)
        except TokenError:
            if piece != word:
                break
    return parse_token("".join(_lines(words)))


def _lines(words: Sequence[str]) -> Iterator[str]:
    """Yield the words that look like the lines of a broken token, at least the first."""
    for number, word in enumerate(words):
        piece = _piece(word)
        is_line = len(piece) >= LEAST_LINE or number == len(words) - 1
        if number and not is_line:
            return
        is_whole = piece == word or not word[len(piece) :].strip(AROUND)
        # The first is shown to the parser with what does not belong into a token.
        yield piece if is_whole or number else word
        if piece != word:
            return


def _piece(word: str) -> str:
    match = BASE64URL.match(word)
    return match[0] if match else ""


def _without_start(text: str) -> Token:
    """Read a text in which no token begins: a broken line may have hidden the beginning.

    Raises what that text is.
    """
    words = [word.strip(AROUND) for word in text.split()]
    for word in words:
        if len(word) == GO_SESSION_TOKEN_CHARACTERS and BASE64URL.fullmatch(word):
            return parse_token(word)
    something_else = _something_else(text, text.strip(AROUND))
    if something_else is not None:
        raise something_else
    compact = "".join(words)
    is_long = len(words[0]) >= LEAST_LINE and len(compact) >= LEAST_TOKEN_WORD
    if is_long and BASE64URL.fullmatch(compact):
        raise TokenDamaged("its beginning is missing")
    return parse_token(compact)


def _is_good_code(text: str) -> bool:
    from derphole.token.typed_code import is_code, parse_code

    try:
        return is_code(text) and bool(parse_code(text))
    except CodeMistyped:
        return False


def _something_else(text: str, bare: str) -> NotAToken | None:
    """Return what a text is that people take for a token, None for any other text."""
    if not bare:
        return NotAToken("nothing is there")
    if bare.lower() in PLACEHOLDERS:
        return NotAToken(
            f"{bare.upper()} stands for the text that the other side printed",
            "put that text in its place",
        )
    if VARIABLE.fullmatch(bare):
        return NotAToken(
            "it is the name of a variable", "let the shell put in its value: use double quotes"
        )
    if URL.search(text):
        return NotAToken(
            "it is a URL",
            "use the token that the other side printed; the URL of a relay goes to --relay there",
        )
    if _is_good_code(bare):
        return NotAToken(
            "it is a short code of `derphole`",
            "give the token that `derptun token client` made, which lasts",
        )
    if bare.isdecimal():
        return NotAToken(
            "it is a number", "put a code that was typed with blanks in quotes, or use hyphens"
        )
    if ADDRESS.fullmatch(bare):
        return NotAToken("it is an address", "give the token that the other side printed, too")
    if COMMAND.match(bare):
        return NotAToken("it is a command line, and no token is in it")
    return None
