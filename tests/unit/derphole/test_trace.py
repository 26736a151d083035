"""The trace: every name that the code emits stands in its table, and a line never holds a secret."""

import ast
import json
import re
import stat
from pathlib import Path

import pytest

from derphole import trace
from derphole.errors import UsageError
from derphole.trace import TraceFile
from tunnel.crypto.aead import AeadId
from tunnel.crypto.keys import DerpKey, KeyPair, Secret
from tunnel.errors import ClosedHere, PeerClosed, PeerSilent
from tunnel.net.link_trace import LinkTrace
from tunnel.proto.link.events import LinkResumed, LinkStalled
from tunnel.proto.link.parameters import LinkParameters
from tunnel.proto.link.peer_link import PeerLink
from tunnel.units import Instant

ROOT = Path(__file__).resolve().parents[3]
EMITTERS = {"trace", "_trace"}
TABLE = set(
    re.findall(r"^    [a-z ]{9}([a-z_]+(?:\.[a-z_]+)?)(?: |$)", trace.__doc__, re.MULTILINE)
)


@pytest.fixture(scope="module")
def ours():
    """Return (place, name) of every call of a trace in our two packages."""
    return list(emitted(ROOT))


def emitted(root):
    """Yield (place, name) of every call of a trace; a name that is no literal is None."""
    for package in ("tunnel", "derphole"):
        for path in sorted((root / package).rglob("*.py")):
            is_trace_module = path.name == "trace.py"
            for node in ast.walk(ast.parse(path.read_text())):
                yield from _names(node, f"{path.relative_to(root)}", is_trace_module)


def _names(node, place, is_trace_module):
    if isinstance(node, ast.Call) and node.args:
        called = node.func
        name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", None)
        is_self = is_trace_module and name == "self"
        if name in EMITTERS or is_self:
            first = node.args[0]
            yield f"{place}:{node.lineno}", first.value if isinstance(first, ast.Constant) else None
    if isinstance(node, ast.Dict):  # an event written past TraceFile
        for key, value in zip(node.keys, node.values, strict=True):
            is_event = isinstance(key, ast.Constant) and key.value == "event"
            if (
                is_event
                and isinstance(value, ast.Constant)
                and not place.endswith("relay_ready.py")
            ):
                yield f"{place}:{node.lineno}", value.value


def test_every_event_that_the_code_emits_stands_in_the_table(ours):
    found = dict(ours)

    assert len(found) > 15
    assert {place: name for place, name in found.items() if name not in TABLE} == {}


def test_every_event_of_the_table_is_emitted(ours):
    assert TABLE - {name for _, name in ours} == set()


def test_a_call_whose_name_is_missing_or_no_literal_is_found(tmp_path):
    planted = tmp_path / "tunnel" / "a.py"
    planted.parent.mkdir()
    planted.write_text("def f(self, name):\n    self._trace('made.up', {})\n    trace(name, {})\n")

    assert list(emitted(tmp_path)) == [("tunnel/a.py:2", "made.up"), ("tunnel/a.py:3", None)]


def lines_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_trace_is_private_and_begins_with_what_a_fault_report_needs(tmp_path):
    path = tmp_path / "trace"

    file = TraceFile(path)
    file("relay.state", {"region": 1, "state": "connected"})
    file.close()
    file("relay.state", {"region": 1, "state": "down"})

    started, state = lines_of(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert started["event"] == "trace.started"
    assert {"unix_s", "version", "python", "platform"} <= set(started)
    assert (state["event"], state["region"], state["state"]) == ("relay.state", 1, "connected")
    assert state["t"] >= started["t"] >= 0


def test_a_second_run_appends(tmp_path):
    path = tmp_path / "trace"

    for _ in range(2):
        TraceFile(path).close()

    assert [line["event"] for line in lines_of(path)] == ["trace.started"] * 2


def test_a_value_that_json_has_not_is_told_by_its_type_alone(tmp_path):
    path = tmp_path / "trace"
    secret = b"sixteen secret b"

    file = TraceFile(path)
    file(
        "link.up", {"key": secret, "pair": KeyPair.from_secret(secret * 2), "root": Secret(secret)}
    )
    file.close()

    assert lines_of(path)[1] | {"t": 0} == {
        "t": 0,
        "event": "link.up",
        "key": "<bytes>",
        "pair": "<KeyPair>",
        "root": "<Secret>",
    }


def test_a_trace_that_cannot_be_made_is_a_usage_error(tmp_path):
    with pytest.raises(UsageError, match="cannot be written: Is a directory"):
        TraceFile(tmp_path)


def test_a_full_disk_ends_the_trace_and_nothing_else():
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("this system has no /dev/full")

    file = TraceFile(full)
    file("relay.state", {"region": 1, "state": "down"})

    assert not file.is_on


def traced_link(path):
    parameters = LinkParameters(
        is_issuer=True, peer_key=DerpKey(bytes(32)), root=Secret(bytes(32)), aead=AeadId.AEGIS_256,
        peer_index=1, features=0, relay=0, peer_grant=24, our_grant=24, is_polite=False,
    )  # fmt: skip
    machine = PeerLink(Instant(0.0), parameters, {0}, bytes, lambda *_: None)
    file = TraceFile(path)
    return machine, LinkTrace(file, 1, machine), file


def test_a_link_is_sampled_once_a_second_and_only_while_it_is_used(tmp_path):
    machine, traced, file = traced_link(tmp_path / "trace")

    traced.sample(Instant(10.0))
    machine.counters.bytes_sent_relayed += 100
    traced.sample(Instant(10.9))
    traced.sample(Instant(11.0))
    traced.sample(Instant(20.0))
    file.close()

    samples = [e for e in lines_of(tmp_path / "trace") if e["event"] == "link.sample"]
    assert [sample["bytes_sent"] for sample in samples] == [0, 100]
    assert samples[0]["rtt_ms"] is None


@pytest.mark.parametrize(
    ("end", "side", "code"),
    [
        (PeerClosed(17, "bye"), "peer", 17),
        (ClosedHere(16), "ours", 16),
        (PeerSilent(60), "none", None),
    ],
)
def test_the_end_of_a_link_names_side_and_code(tmp_path, end, side, code):
    _, traced, file = traced_link(tmp_path / "trace")

    traced.news(LinkStalled(5.0, 55.0))
    traced.news(LinkResumed(7.0))
    traced.ended(end)
    file.close()

    events = lines_of(tmp_path / "trace")[1:]
    names = [event["event"] for event in events]
    assert names == ["link.up", "link.stalled", "link.resumed", "link.ended"]
    assert (events[-1]["side"], events[-1]["code"]) == (side, code)
    assert "bye" not in json.dumps(events)
