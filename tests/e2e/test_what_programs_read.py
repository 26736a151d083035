"""What scripts rely on: where things are written, in which form, and where a token comes from."""

import json
import re
import stat
import subprocess
from pathlib import Path

import pytest
from desk import Desk, token_of
from support.processes import Process, free_port

from derphole.token.text import SessionToken, parse_token

pytestmark = pytest.mark.e2e

PAYLOAD = b"the payload, and nothing else"
RECEIPT_KEYS = {
    "event", "time", "direction", "bytes", "seconds", "path", "reason_relayed", "digest",
    "digest_kind", "bytes_direct", "bytes_relayed", "promotions", "stalls",
}  # fmt: skip


def story(process: Process) -> list[tuple[object, object]]:
    """Return events and states in order, without what comes in between by chance.

    On a slow machine there is waiting, of paths is told whatever is known by then, and the code is
    ready when it is.
    """
    names = [(event["event"], event.get("state")) for event in process.events]
    return [name for name in names if name[0] not in ("waiting", "path-detail", "code")]


def test_json_events_tell_the_whole_story_of_both_sides(desk: Desk) -> None:
    listen = desk.derphole("json", "listen", "--relay", desk.relay_url, "--json")
    token = listen.await_line(r'"token": "(dhp1_[^"]+)"').group(1)
    pipe = desk.pipe(token, "--json", "--force-relay", stdin=PAYLOAD, name="json")
    assert pipe.wait() == 0
    assert listen.wait() == 0

    assert story(listen) == [
        ("state", "waiting-for-claim"),
        ("token", None),
        ("state", "connected-relay"),
        ("path", None),
        ("state", "stream-complete"),
        ("receipt", None),
    ]
    assert story(pipe) == [
        ("state", "probing-direct"),
        ("state", "connected-relay"),
        ("path", None),
        ("state", "stream-complete"),
        ("receipt", None),
    ]
    assert all(isinstance(event["time"], float) for event in listen.events + pipe.events)
    sent, received = pipe.events[-1], listen.events[-1]
    assert set(sent) == set(received) == RECEIPT_KEYS
    assert (sent["direction"], received["direction"]) == ("sent", "received")
    assert sent["bytes"] == received["bytes"] == len(PAYLOAD)
    for receipt in (sent, received):
        assert (receipt["bytes_direct"], receipt["promotions"], receipt["stalls"]) == (0, 0, 0)
        assert int(str(receipt["bytes_relayed"])) >= len(PAYLOAD)
    assert sent["reason_relayed"] == "--force-relay was given"
    assert received["reason_relayed"] == "the other side was given --force-relay"
    assert sent["digest"] == received["digest"]
    assert sent["digest_kind"] == "xxh3-128"
    assert listen.stdout == PAYLOAD
    assert pipe.stdout == b""


def test_a_longer_transfer_moves_to_a_direct_path_and_says_so(desk: Desk) -> None:
    listen = desk.derphole("json", "listen", "--relay", desk.relay_url, "--json")
    token = listen.await_line(r'"token": "(dhp1_[^"]+)"').group(1)
    payload = bytes(range(256)) * (16 << 12)
    pipe = desk.pipe(token, "--json", stdin=payload, name="json")

    assert pipe.wait() == 0
    assert listen.wait() == 0

    assert listen.stdout == payload
    for side in (listen, pipe):
        paths = [event for event in side.events if event["event"] == "path"]
        assert [path["direct"] for path in paths][:2] == [False, True]
        assert ("state", "connected-direct") in [(e["event"], e.get("state")) for e in side.events]
        assert str(side.events[-1]["path"]).startswith("direct ")
        receipt = side.events[-1]
        assert receipt["reason_relayed"] is None
        assert receipt["promotions"] == 1
        by_path = int(str(receipt["bytes_direct"])) + int(str(receipt["bytes_relayed"]))
        assert by_path >= len(payload)


def test_json_errors_have_a_code_and_the_exit_code(desk: Desk) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    process = desk.derphole("json", "listen", "--json", "--relay", url, "--timeout", "0.5")

    assert process.wait() == 1
    trouble, error = process.events
    assert trouble["event"] == "relay-trouble"
    assert error["event"] == "error"
    assert (error["code"], error["exit_code"]) == ("timed-out", 1)


def test_print_token_only_puts_the_token_before_the_stream(desk: Desk) -> None:
    listen = desk.listen("--print-token-only", "--quiet")
    line = listen.await_output(20).partition(b"\n")[0]
    token = line.decode()
    assert re.fullmatch(r"[A-Za-z0-9_-]{20,319}", token)
    assert isinstance(parse_token(token), SessionToken)

    desk.pipe(token, "--quiet", stdin=PAYLOAD).ends_with(0)

    listen.ends_with(0)
    assert listen.stdout == line + b"\n" + PAYLOAD
    assert listen.lines == []


@pytest.mark.parametrize("flag", ["-q", "--quiet", "-s", "--silent"])
def test_quiet_says_the_token_and_nothing_else(desk: Desk, flag: str) -> None:
    listen = desk.listen(flag)
    token = token_of(listen)
    pipe = desk.pipe(token, flag, stdin=PAYLOAD)

    pipe.ends_with(0)
    listen.ends_with(0)
    assert listen.lines == [token]
    assert pipe.lines == []
    assert listen.stdout == PAYLOAD


def test_without_flags_each_side_says_little(desk: Desk) -> None:
    listen = desk.listen()
    token = token_of(listen)
    pipe = desk.pipe(token, stdin=PAYLOAD)
    pipe.ends_with(0)
    listen.ends_with(0)

    receipt = re.compile(
        r"(sent 29B, confirmed|received 29B, complete) after \d+\.\d s, \S+/s, by "
        r"(relay own \(127\.0\.0\.1:\d+\) \(relayed: .*\)|direct \S+)"
    )
    received, sent = (
        [line for line in process.lines if not line.startswith("waiting for ")]  # where it is slow
        for process in (listen, pipe)
    )
    assert received[0] == token
    assert len(received) == 2
    assert receipt.fullmatch(received[1])
    assert len(sent) == 1
    assert receipt.fullmatch(sent[0])


def test_verbose_adds_what_few_people_need_to_the_receipt(desk: Desk) -> None:
    listen = desk.listen("--verbose")
    pipe = desk.pipe(token_of(listen), "--verbose", stdin=PAYLOAD)
    pipe.ends_with(0)
    listen.ends_with(0)

    details = re.compile(
        r"^(?:sent|received) \S+ direct and \S+ relayed with headers and repeats, "
        r"[01] promotions?, 0 stalls; XXH3-128 ([0-9a-f]{32})$"
    )
    [sent], [received] = (
        [found[1] for line in process.lines if (found := details.fullmatch(line))]
        for process in (pipe, listen)
    )
    assert sent == received


def test_verbose_prints_the_states(desk: Desk) -> None:
    listen = desk.listen("--verbose")
    pipe = desk.pipe(token_of(listen), "-v", stdin=PAYLOAD)
    pipe.ends_with(0)
    listen.ends_with(0)

    for process, states in (
        (listen, ["waiting-for-claim", "connected-relay", "stream-complete"]),
        (pipe, ["probing-direct", "connected-relay", "stream-complete"]),
    ):
        assert [line for line in process.lines if line in states] == states
    path = rf"path=relay via=relay own \({desk.relay_url.removeprefix('http://')}\)"
    assert any(re.fullmatch(path, line) for line in pipe.lines)


@pytest.mark.parametrize("side", ["listen", "pipe"])
def test_force_relay_on_either_side_is_the_reason_on_both(desk: Desk, side: str) -> None:
    forced = {side: ["--force-relay"]}
    listen = desk.listen(*forced.get("listen", []))
    pipe = desk.pipe(token_of(listen), *forced.get("pipe", []), stdin=PAYLOAD)

    assert_delivered(listen, pipe)
    for process in (listen, pipe):
        is_forced = process is (listen if side == "listen" else pipe)
        reason = (
            "--force-relay was given" if is_forced else "the other side was given --force-relay"
        )
        assert f"(relayed: {reason})" in process.lines[-1]


def test_the_relay_may_come_from_the_environment(desk: Desk) -> None:
    listen = desk.derphole("listen", "listen", variables={"DERPHOLE_RELAY": desk.relay_url})

    pipe = desk.pipe(token_of(listen), stdin=PAYLOAD)

    assert_delivered(listen, pipe)


def test_an_option_wins_over_the_environment(desk: Desk) -> None:
    nowhere = f"http://127.0.0.1:{free_port()}"
    listen = desk.derphole(
        "listen",
        "listen",
        "--relay",
        desk.relay_url,
        variables={"DERPHOLE_RELAY": nowhere, "DERPHOLE_DERP_MAP": "x"},
    )

    pipe = desk.pipe(token_of(listen), stdin=PAYLOAD)

    assert_delivered(listen, pipe)


@pytest.mark.parametrize("way", ["option", "environment"])
def test_the_relay_may_come_from_a_map(desk: Desk, way: str) -> None:
    url = f"{desk.relay_url}/derpmap"
    if way == "option":
        listen = desk.derphole("listen", "listen", "--derp-map", url)
    else:
        listen = desk.derphole("listen", "listen", variables={"DERPHOLE_DERP_MAP": url})

    pipe = desk.pipe(token_of(listen), stdin=PAYLOAD)

    assert_delivered(listen, pipe)


@pytest.mark.parametrize(
    "way", ["--token", "--token-file", "--token-stdin", "DERPHOLE_TOKEN", "--"]
)
def test_a_token_may_come_from_anywhere(desk: Desk, tmp_path: Path, way: str) -> None:
    listen = desk.listen()
    token = token_of(listen)
    stdin, words, variable = PAYLOAD, ["pipe"], ""
    if way == "--token-file":
        words += ["--token-file", str(private_file(tmp_path / "token", token + "\n"))]
    elif way == "--token-stdin":
        words += ["--token-stdin"]
        stdin = token.encode() + b"\n" + PAYLOAD
    elif way == "DERPHOLE_TOKEN":
        variable = token
    else:
        words += [way, token]

    pipe = desk.derphole("pipe", *words, stdin=stdin, variables={"DERPHOLE_TOKEN": variable})

    assert_delivered(listen, pipe)
    assert len(pipe.lines) == 1, pipe.lines


def test_a_token_file_that_others_can_read_is_warned_about(desk: Desk, tmp_path: Path) -> None:
    listen = desk.listen()
    file = private_file(tmp_path / "token", token_of(listen))
    file.chmod(0o644)

    pipe = desk.derphole("pipe", "pipe", "--token-file", str(file), stdin=PAYLOAD)

    assert_delivered(listen, pipe)
    assert re.match(r"warning: .*mode 0644.*chmod 600", pipe.lines[0])


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["pipe"], "^exactly one of TOKEN, --token, --token-file, or --token-stdin is required$"),
        (["pipe", "--token", "a", "dhp1_b"], "^at most one of TOKEN, --token, .* may be set$"),
        (
            ["pipe", "--token-file", "/nowhere/token"],
            "^read --token-file: No such file or directory",
        ),
        (["pipe", "a", "b", "c"], "."),
        (["pipe", "--tok", "a"], "--tok"),
        (["listen", "surplus"], "surplus|argument"),
        (["listen", "--relay", "ftp://127.0.0.1"], "^invalid relay .* https:// or http://"),
        (["listen", "--timeout", "soon"], '^invalid --timeout value "soon"'),
        (["listen", "-q", "-v"], "^only one of --verbose, --quiet, or --silent may be set$"),
        (["lisen"], "^unknown command: lisen; did you mean listen[?]$"),
    ],
)
def test_a_wrong_call_ends_with_2_and_reads_nothing(
    desk: Desk, words: list[str], sentence: str
) -> None:
    process = desk.derphole("wrong", *words, stdin=subprocess.DEVNULL)

    process.ends_with(2, sentence)
    assert process.stdout == b""


def test_a_trace_is_json_lines_without_secrets(desk: Desk, tmp_path: Path) -> None:
    traces = [tmp_path / "listen.trace", tmp_path / "pipe.trace"]
    listen = desk.listen("--trace", str(traces[0]))
    text = token_of(listen)
    pipe = desk.pipe(text, "--trace", str(traces[1]), stdin=PAYLOAD)
    assert_delivered(listen, pipe)

    token = parse_token(text)
    assert isinstance(token, SessionToken)
    for trace in traces:
        content = trace.read_text()
        events = [json.loads(line) for line in content.splitlines()]
        assert events
        assert all("event" in event and "t" in event for event in events)
        assert text not in content
        assert token.secret.hex() not in content
        assert not stat.S_IMODE(trace.stat().st_mode) & 0o022


def assert_delivered(listen: Process, pipe: Process) -> None:
    pipe.ends_with(0, "^sent ")
    listen.ends_with(0, "^received ")
    assert listen.stdout == PAYLOAD
    assert pipe.stdout == b""


def private_file(path: Path, text: str) -> Path:
    path.touch(mode=0o600)
    path.write_text(text)
    return path
