"""Numbers on command lines."""

import re

from derphole.errors import UsageError

DIGITS = re.compile(r"[0-9]{1,6}")


def count(name: str, text: str | None, default: int, most: int) -> int:
    """Return a number of things, of which there is one at least; raises `UsageError`.

    Args:
        name: of the option.
        text: its value; None where it was not given.
        default: what counts then.
        most: the largest number that is taken.
    """
    if text is None:
        return default
    if not DIGITS.fullmatch(text) or not 1 <= int(text) <= most:
        raise UsageError(f'invalid {name} value "{text}"; use 1 to {most}')
    return int(text)
