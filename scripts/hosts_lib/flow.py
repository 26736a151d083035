"""What one side of a link told of its paths, read from the events of --json.  Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

RELAY, DIRECT = "connected-relay", "connected-direct"
WORDS = {RELAY: "relay", DIRECT: "direct"}


@dataclass(frozen=True, slots=True)
class Flow:
    """One side of one link.

    Args:
        words: "relay" and "direct" in the order in which the side said them.
        direct_after_s: from the link's start to the first direct path, by the clock of that side;
            None without one.
        path: the last path in the words of the program, with its address.
        receipt: what the transfer ended with; empty without one.
    """

    words: tuple[str, ...]
    direct_after_s: float | None
    path: str
    receipt: Mapping[str, object] = field(default_factory=dict)

    @property
    def is_promoted(self) -> bool:
        """Whether it began on a relay, went to a direct path, and was there at the end."""
        return self.words[:1] == ("relay",) and self.words[-1:] == ("direct",)

    @property
    def returns(self) -> int:
        """How often it went back to a relay."""
        return max(0, self.words.count("relay") - 1)

    @property
    def told(self) -> str:
        """The words as a person reads them."""
        return " then ".join(self.words) or "no path"


def flow_of(events: Sequence[Mapping[str, object]]) -> Flow:
    """Return what the events of one program tell of its first link and what followed."""
    states = [event for event in events if event.get("event") == "state"]
    steps = [event for event in states if event.get("state") in WORDS]
    direct = [event for event in steps if event["state"] == DIRECT]
    paths = [str(event["path"]) for event in events if event.get("event") == "path"]
    receipts = [event for event in events if event.get("event") == "receipt"]
    return Flow(
        tuple(WORDS[str(event["state"])] for event in steps),
        time_of(direct[0]) - time_of(steps[0]) if direct else None,
        paths[-1] if paths else "",
        receipts[-1] if receipts else {},
    )


def time_of(event: Mapping[str, object]) -> float:
    """Return when an event was told, in seconds of the clock of its machine."""
    return float(str(event["time"]))
