"""What somebody may have meant by a word that we do not know."""

from collections.abc import Iterable

# Chosen: listn and --realy are near enough, and no two of our own words are as near to each other.
LEAST_LIKENESS = 0.7
LEAST_LETTERS = 3


def meant(word: str, known: Iterable[str]) -> str:
    """Return "; did you mean ...?" with the known word that is nearest, or nothing.

    Args:
        word: what was given; dashes before it and capitals do not count.
        known: the words that would have been right, with their dashes.
    """
    from difflib import get_close_matches

    letters = word.lstrip("-").lower()
    names = {name.lstrip("-"): name for name in known}
    if len(letters) < LEAST_LETTERS:
        return ""
    begun = [name for name in names if name.startswith(letters)]
    near = begun if len(begun) == 1 else get_close_matches(letters, names, 1, LEAST_LIKENESS)
    return f"; did you mean {names[near[0]]}?" if near else ""
