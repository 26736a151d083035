"""scripts/timeline: what happened when, from one trace or two."""

import importlib.util
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
SPEC = importlib.util.spec_from_file_location("timeline", ROOT / "scripts" / "timeline.py")
assert SPEC is not None
assert SPEC.loader is not None
timeline = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(timeline)


def trace(path, unix_s, *events):
    lines = [{"t": 0.0, "event": "trace.started", "unix_s": unix_s}]
    lines += [{"t": t, "event": name, **values} for t, name, values in events]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(path)


def test_each_kind_of_event_is_told_once_with_the_wait_before_it(tmp_path):
    path = trace(
        tmp_path / "one",
        1000.0,
        (0.010, "relay.state", {"state": "connecting"}),
        (0.030, "relay.state", {"state": "connected"}),
        (0.031, "claim.sent", {"relay": 0}),
        (0.040, "claim.sent", {"relay": 0}),
        (0.100, "link.up", {"role": "claimer"}),
    )

    head, *lines = timeline.main([path]).splitlines()

    assert head.split() == ["at", "after", "what"]
    assert [line.split("  ")[-2].strip() for line in lines[1:5]] == [
        "relay.state", "relay.state", "claim.sent", "link.up",
    ]  # fmt: skip
    assert lines[4].split()[:5] == ["100.0", "ms", "69.0", "ms", "link.up"]
    assert lines[7] == "  69.0 ms  claim.sent -> link.up"
    assert timeline.main([path, "--all"]).count("claim.sent  ") == 2


def test_two_traces_are_put_on_one_clock(tmp_path):
    here = trace(tmp_path / "pipe", 1000.0, (0.5, "link.up", {}))
    there = trace(tmp_path / "listen", 999.8, (0.6, "link.up", {}))

    lines = timeline.main([here, there]).splitlines()

    assert lines[1].split()[:5] == ["-200.0", "ms", "0.0", "ms", "listen:"]
    order = [line.split("ms  ")[2].split()[0] for line in lines[1:5]]
    assert order == ["listen:", "pipe:", "listen:", "pipe:"]


def test_of_a_file_with_several_runs_the_last_one_counts(tmp_path):
    path = tmp_path / "runs"
    trace(path, 1000.0, (0.5, "link.up", {}))
    first = path.read_text()
    trace(path, 2000.0, (0.7, "link.ended", {}))
    path.write_text(first + path.read_text())

    assert "link.up" not in timeline.main([str(path)])


@pytest.mark.parametrize("text", ["", "{}\n", "no trace\n", '{"t": 1, "event": "link.up"}\n'])
def test_what_is_no_trace_is_refused_in_words(tmp_path, text):
    path = tmp_path / "file"
    path.write_text(text)
    with pytest.raises(SystemExit, match="timeline: "):
        timeline.main([str(path)])
    with pytest.raises(SystemExit, match="one or two traces"):
        timeline.main([])
