"""What scripts/timeline prints; see there."""

import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

LONGEST = 5  # waits that are named at the end
STARTED = "trace.started"
SHOWN_CHARACTERS = 60  # of an event's values


class Moment(NamedTuple):
    """An event of one side.

    Attributes:
        at_s: seconds after the first trace began.
        side: which trace it is from; empty where there is one.
        what: the name of the event.
        values: what it says, in short.
    """

    at_s: float
    side: str
    what: str
    values: str


def moments(lines: Iterable[str], side: str, zero: float | None) -> tuple[list[Moment], float]:
    """Return the events of the last run in a trace, and when that began, in seconds since 1970.

    Args:
        lines: of the trace.
        side: what it is called.
        zero: what counts as 0, in seconds since 1970; None for the beginning of this run.

    Raises:
        ValueError: this is no trace.
    """
    events: list[dict[str, object]] = []
    for line in lines:
        event = json.loads(line)
        if not isinstance(event, dict) or "t" not in event or "event" not in event:
            raise ValueError("this is no trace: a line has neither `t` nor `event`")
        if event["event"] == STARTED:
            events.clear()
        events.append(event)
    if not events or events[0]["event"] != STARTED:
        raise ValueError(f"this is no trace: it does not begin with {STARTED}")
    began = float(str(events[0]["unix_s"]))
    shift = 0.0 if zero is None else began - zero
    found = [
        Moment(float(str(event["t"])) + shift, side, str(event["event"]), shown(event))
        for event in events
    ]
    return found, began


def shown(event: dict[str, object]) -> str:
    """Return what an event says, in short."""
    text = ", ".join(
        f"{key} {value}" for key, value in event.items() if key not in ("t", "event", "unix_s")
    )
    return text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 3] + "..."


def firsts(found: Iterable[Moment]) -> Iterator[Moment]:
    """Yield each kind of event of each side once; values that name a state make it another kind."""
    seen: set[tuple[str, str, str]] = set()
    for moment in found:
        state = next((part for part in moment.values.split(", ") if part.startswith("state ")), "")
        kind = moment.side, moment.what, state
        if kind not in seen:
            seen.add(kind)
            yield moment


def report(found: list[Moment]) -> str:
    """Return the timeline, and its longest waits."""
    lines = [f"{'at':>9}  {'after':>9}  what"]
    waits: list[tuple[float, str]] = []
    before: Moment | None = None
    for moment in found:
        waited_s = moment.at_s - before.at_s if before else 0.0
        side = f"{moment.side}: " if moment.side else ""
        lines.append(
            f"{moment.at_s * 1e3:6.1f} ms  {waited_s * 1e3:6.1f} ms  {side}{moment.what}"
            f"{'  ' + moment.values if moment.values else ''}"
        )
        if before:
            waits.append((waited_s, f"{before.what} -> {moment.what}"))
        before = moment
    lines += ["", "longest waits"]
    for waited_s, between in sorted(waits, reverse=True)[:LONGEST]:
        lines.append(f"{waited_s * 1e3:6.1f} ms  {between}")
    return "\n".join(lines)


def main(arguments: list[str]) -> str:
    """Return what is printed; raises `SystemExit` with a sentence."""
    is_all = "--all" in arguments
    paths = [Path(each) for each in arguments if each != "--all"]
    if not 1 <= len(paths) <= 2 or any(str(path).startswith("-") for path in paths):
        raise SystemExit("timeline: one or two traces, and --all; see --help")
    found: list[Moment] = []
    zero: float | None = None
    for path in paths:
        try:
            with path.open(encoding="utf-8") as lines:
                more, began = moments(lines, path.stem if len(paths) > 1 else "", zero)
        except (OSError, ValueError) as error:
            raise SystemExit(f"timeline: {path}: {error}") from error
        zero = began if zero is None else zero
        found += more
    found.sort(key=lambda moment: moment.at_s)
    return report(found if is_all else list(firsts(found)))


if __name__ == "__main__":
    print(main(sys.argv[1:]))
