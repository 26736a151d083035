"""What goes wrong in a check, in a sentence; and the words of programs without secrets.  Pure."""

import re
from collections.abc import Mapping, Sequence

TOKEN = re.compile(r"\b(dhp1|dts1|dtc1)_[A-Za-z0-9_-]{8,}")
ADDRESS = re.compile(
    r"https?://[^\s\"',)]+"
    r"|\[[0-9A-Fa-f:.]+(%\w+)?\](:\d+)?"
    r"|\b\d{1,3}(\.\d{1,3}){3}(:\d+)?"
    r"|(?<![\w:.])(?=[0-9A-Fa-f]*:[0-9A-Fa-f:]*:)[0-9A-Fa-f:.]{3,}(?![\w:])"
    r"|\b(?:[a-z0-9-]+\.)+(?:com|net|org|io|dev|example)\b(:\d+)?"
)


class Trouble(Exception):
    """A check could not be made or went wrong; the text says it in a sentence."""


def without_tokens(text: str) -> str:
    """Return a text in which tokens are nothing that could be used."""
    return TOKEN.sub(r"\1_(not shown)", text)


def without_addresses(text: str) -> str:
    """Return a text in which addresses, names of servers and URLs are not to be read."""
    return ADDRESS.sub("(address)", text).replace("((address))", "(address)")


def why_it_ended(who: str, code: int, events: Sequence[Mapping[str, object]], said: str) -> str:
    """Return why a program ended, by its last error, or by its last line."""
    errors = [str(event["message"]) for event in events if event.get("event") == "error"]
    lines = [line for line in said.splitlines() if line.strip()]
    words = errors[-1] if errors else lines[-1] if lines else "it said nothing"
    return without_tokens(f"{who} ended with {code}: {words}")
