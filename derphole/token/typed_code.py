"""Codes as people type them: any case, spaces or hyphens between the parts.

A word counts whole, else by its first four letters.  One that is not on the list is refused, since
hundreds of them are one letter from another: what is near is named, and never taken, because a
wrong word costs one of the three tries that a code has.  Pure.
"""

import re
from collections.abc import Callable, Sequence
from functools import cache

from derphole.errors import CodeMistyped
from derphole.token.code import DIGITS, LEAST_WORDS, MAX_REGION, MOST_WORDS, Code
from derphole.token.code_words import WORDS

PREFIX = 4  # letters that tell every word of the list
# What people put between the parts, hyphens of all kinds included.
BETWEEN = re.compile(r"[\s\-_+.,:=\u00ad\u2010-\u2015\u2212\ufe58\ufe63\uff0d]+")
AROUND = "\"'`<>()[]{}.,;:!?=\u00ab\u00bb\u2018\u2019\u201a\u201c\u201d\u201e\u2039\u203a"
INVISIBLE = re.compile("[\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff]")
OPTIONS = re.compile(r"\s--[a-z].*", re.DOTALL)  # pasted with it
MAX_TYPED = 300  # characters; a code of six words has 60


def is_code(text: str) -> bool:
    """Tell whether a text is meant as a code, however damaged.

    Dates, addresses, ports and names of files are none.
    """
    if len(text) > MAX_TYPED:
        return False
    parts = _parts(text)
    numbers = _numbers(parts)
    rest = parts[len(numbers) :]
    known = sum(_known_word(part) is not None for part in rest)
    if not numbers or len(numbers[0]) > DIGITS:
        return known >= LEAST_WORDS and len(numbers) == 1 and len(numbers[0]) <= DIGITS + 5
    digits = "".join(numbers[1:])
    if len(digits) == DIGITS:
        is_word = not rest or (rest[0].isalpha() and len(rest[0]) > PREFIX)
        return len(numbers) < 4 and (known > 0 or is_word)
    if known >= LEAST_WORDS:
        return len(digits) <= 2 * DIGITS
    return known > 0 and DIGITS - 2 <= len(digits) <= DIGITS + 2


def parse_code(text: str) -> Code:
    """Read a code; raises `CodeMistyped`, which says what is wrong with it."""
    parts = _parts(text)
    numbers = _numbers(parts)
    words = parts[len(numbers) :]
    if len(numbers) > 2:  # the six digits, in groups
        numbers = [numbers[0], "".join(numbers[1:])]
    if len(numbers) == 1 and len(numbers[0]) > DIGITS:
        apart = f"{numbers[0][:-DIGITS]}-{numbers[0][-DIGITS:]}"
        raise CodeMistyped(f"put a hyphen between its numbers: {apart}?")
    if len(numbers) == 1 and len(numbers[0]) == DIGITS:
        raise CodeMistyped("the number before its six digits is missing")
    if len(numbers) < 2:
        raise CodeMistyped("its six digits are missing")
    region, digits = numbers
    if int(region) > MAX_REGION:
        raise CodeMistyped(f"no relay map has a region {region[:10]}")
    if len(digits) != DIGITS:
        raise CodeMistyped(f"it has {len(digits)} digits where six belong")
    if len(words) == 1 and (split := _run_together(words[0])):
        raise CodeMistyped(f"put a hyphen or a space between its words: {'-'.join(split)}?")
    found = tuple(_word(word) for word in words)
    if len(found) < LEAST_WORDS:
        raise CodeMistyped(f"it has {len(found) or 'no'} word{'' if len(found) == 1 else 's'}")
    if len(found) > MOST_WORDS:
        raise CodeMistyped(f"it has {len(found)} words, and six are the most")
    return Code(int(region), digits, found)


def joined_words(
    words: Sequence[str], is_something: Callable[[str], bool] = lambda word: False
) -> list[str]:
    """Return the words of a command line with a code that was typed in several put together.

    `receive 12 048219 cactus dentist -o x` becomes `receive 12-048219-cactus-dentist -o x`.

    Args:
        words: the command line.
        is_something: tells whether a word means something else, such as a file that is there; it is
            asked once there is a whole code.
    """
    damaged: list[str] | None = None
    for start, word in enumerate(words[:-1]):
        head = _parts(word)
        if not head or not _is_number(head[0]) or _is_whole(word):
            continue
        parts, end = list(head), start + 1
        while end < len(words) and not _is_whole(words[end]):
            if is_something(words[end]) and _is_whole("-".join(parts)):
                break
            more = _more(words[end], has_words=not _is_digits(parts[-1]))
            if not more:
                break
            parts += more
            end += 1
        text = "-".join(words[start:end])
        joined = [*words[:start], text, *words[end:]]
        if end > start + 1 and _is_whole(text):
            return joined
        if end > start + 1 and is_code(text):
            damaged = damaged or joined
    return damaged or list(words)


def _pieces(text: str) -> list[str]:
    """Return the parts of a text in small letters."""
    text = OPTIONS.sub("", INVISIBLE.sub("", text.lower()))
    return [piece for part in BETWEEN.split(text) if (piece := part.strip(AROUND))]


def _parts(text: str) -> list[str]:
    """Return the parts of a text from its first number on."""
    parts = _pieces(text)
    while parts and not _is_digits(parts[0]):
        parts.pop(0)
    return parts


def _numbers(parts: Sequence[str]) -> list[str]:
    """Return the numbers that the parts begin with."""
    numbers: list[str] = []
    for part in parts:
        if not _is_digits(part):
            break
        numbers.append(part)
    return numbers


def _is_digits(part: str) -> bool:
    return part.isascii() and part.isdecimal()


def _is_number(part: str) -> bool:
    return _is_digits(part) and len(part) <= DIGITS


def _is_whole(text: str) -> bool:
    """Tell whether a text is a good code already."""
    try:
        return is_code(text) and bool(parse_code(text))
    except CodeMistyped:
        return False


def _more(word: str, *, has_words: bool) -> list[str]:
    """Return the parts of a word of a command line that goes on with a code; none if it does not.

    Args:
        word: the next one.
        has_words: whether a word came before, so that no digits can come any more.
    """
    parts = _pieces(word)
    if word.startswith("-"):
        return []
    for part in parts:
        if _is_digits(part) and not has_words:
            continue
        if _known_word(part) is None:
            return []
        has_words = True
    return parts


def _known_word(typed: str) -> str | None:
    """Return the word of the list that was typed whole or begun; None for none."""
    word = _by_prefix().get(typed[:PREFIX])
    if word is not None and (typed == word or (len(typed) >= PREFIX and word.startswith(typed))):
        return word
    return None


def _word(typed: str) -> str:
    """Return the word of the list that was typed; raises `CodeMistyped`."""
    word = _known_word(typed)
    if word is not None:
        return word
    near = [each for each in WORDS if _is_one_edit(typed, each)]
    hint = f"; did you mean {' or '.join(near[:4])}?" if near else ""
    raise CodeMistyped(f'"{typed[:20]}" is not a word of any code{hint}')


def _run_together(typed: str) -> list[str] | None:
    """Return the words of the list that a text is made of, if there are two or more."""
    for end in range(3, len(typed) - 2):
        if typed[:end] not in _whole():
            continue
        rest = [typed[end:]] if typed[end:] in _whole() else _run_together(typed[end:])
        if rest:
            return [typed[:end], *rest]
    return None


@cache
def _by_prefix() -> dict[str, str]:
    return {word[:PREFIX]: word for word in WORDS}


@cache
def _whole() -> frozenset[str]:
    return frozenset(WORDS)


def _is_one_edit(typed: str, word: str) -> bool:
    """Tell whether one letter, or two neighbours that changed places, tell them apart."""
    if abs(len(typed) - len(word)) > 1:
        return False
    start = 0
    while start < min(len(typed), len(word)) and typed[start] == word[start]:
        start += 1
    left, right = typed[start:], word[start:]
    return (
        left[1:] == right[1:]
        or left == right[1:]
        or left[1:] == right
        or (left[:2] == right[1::-1] and left[2:] == right[2:])
    )
