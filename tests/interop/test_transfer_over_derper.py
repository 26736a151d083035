"""`derphole listen` and `derphole pipe` as two processes, with Tailscale's derper between them."""

import contextlib
import hashlib
import os
import subprocess
import time
from pathlib import Path

import pytest
from interop_go import DerperVersion
from interop_process import MeasuredProcess, Process, derphole, running
from interop_servers import RelayServer, derper_on_port, derper_server, free_tcp_port
from interop_support import MIB, await_size, file_sha256, write_random_file
from support.processes import record_figure
from support.real_sshd import Machine
from support.ssh_keys import make_key

pytestmark = [pytest.mark.interop, pytest.mark.e2e, pytest.mark.timeout(1800)]

CUT_SIZE_BYTES = 8 * MIB
FULL_SIZE_BYTES = 1024 * MIB
PEAK_RSS_LIMIT_BYTES = 150_000_000
TOKEN_LINE = r"^dhp1_[A-Za-z0-9_-]{20,}$"
TRANSFER_TIMEOUT_S = 120.0
FULL_TRANSFER_TIMEOUT_S = 900.0
FIRST_BYTES_TIMEOUT_S = 30.0
REFUSAL_TIMEOUT_S = 30.0
# Nobody listens on this loopback port, and an admission service that is away admits nobody.
ADMIT_NOBODY = ("-verify-client-url", "http://127.0.0.1:1/", "-verify-client-url-fail-open=false")


def test_listen_and_pipe_move_a_file_over_derper(
    derper: RelayServer, derper_version: DerperVersion, tmp_path: Path, is_full: bool
) -> None:
    size_bytes = FULL_SIZE_BYTES if is_full else CUT_SIZE_BYTES
    timeout_s = FULL_TRANSFER_TIMEOUT_S if is_full else TRANSFER_TIMEOUT_S
    source, target = tmp_path / "source", tmp_path / "target"
    sent_digest = write_random_file(source, size_bytes)

    with target.open("wb") as output, source.open("rb") as file:
        command = derphole("listen", *derper.arguments)
        listen = MeasuredProcess("listen", command, tmp_path, stdout=output)
        with running(listen):
            token = listen.await_line(TOKEN_LINE).group()
            started = time.monotonic()
            command = derphole("pipe", "--force-relay", *derper.arguments, token)
            pipe = MeasuredProcess("pipe", command, tmp_path, stdin=file)
            with running(pipe):
                pipe_code = pipe.wait(timeout_s)
                took_s = time.monotonic() - started
                listen_code = listen.wait(timeout_s)

    assert pipe_code == 0, pipe.stderr
    assert listen_code == 0, listen.stderr
    assert target.stat().st_size == size_bytes
    assert file_sha256(target) == sent_digest
    source.unlink()  # pytest keeps the folders of three runs, and these may be a GiB each
    target.unlink()
    kind = "TLS" if derper.is_tls else "plain HTTP"
    what = f"{size_bytes // MIB} MiB over derper {derper_version.number}, {kind}"
    record_figure(f"{what}: rate", f"{size_bytes / took_s / 1e6:.1f} MB/s", "recorded")
    for side in (listen, pipe):
        peak = f"{side.peak_rss_bytes / 1e6:.1f} MB"
        record_figure(f"{what}: peak memory of {side.name}", peak, "<= 150 MB")
    assert listen.peak_rss_bytes <= PEAK_RSS_LIMIT_BYTES
    assert pipe.peak_rss_bytes <= PEAK_RSS_LIMIT_BYTES


def test_a_transfer_survives_a_restart_of_derper_in_the_middle(
    derper_program: Path, tmp_path: Path
) -> None:
    before, after = os.urandom(CUT_SIZE_BYTES // 2), os.urandom(CUT_SIZE_BYTES // 2)
    target = tmp_path / "target"
    port = free_tcp_port()

    with contextlib.ExitStack() as processes, target.open("wb") as output:
        with derper_on_port(derper_program, tmp_path, port, tls=False) as derper:
            command = derphole("listen", *derper.arguments)
            listen = Process("listen", command, tmp_path, stdout=output)
            processes.enter_context(running(listen))
            token = listen.await_line(TOKEN_LINE).group()
            command = derphole("pipe", "--force-relay", *derper.arguments, token)
            pipe = Process("pipe", command, tmp_path, stdin=subprocess.PIPE)
            processes.enter_context(running(pipe))
            pipe.feed(before, TRANSFER_TIMEOUT_S)
            await_size(target, 1, FIRST_BYTES_TIMEOUT_S)
        with derper_on_port(derper_program, tmp_path, port, tls=False):
            pipe.feed(after, TRANSFER_TIMEOUT_S)
            pipe.end_input()
            pipe_code = pipe.wait(TRANSFER_TIMEOUT_S)
            listen_code = listen.wait(TRANSFER_TIMEOUT_S)

    assert pipe_code == 0, pipe.stderr
    assert listen_code == 0, listen.stderr
    assert file_sha256(target) == hashlib.sha256(before + after).hexdigest()


def test_a_derper_that_refuses_our_key_is_named_as_the_cause(
    derper_program: Path, tmp_path: Path
) -> None:
    with derper_server(derper_program, tmp_path, tls=False, flags=ADMIT_NOBODY) as derper:
        listen = Process("listen", derphole("listen", *derper.arguments), tmp_path)
        with running(listen):
            refusal = listen.await_line("refused our key", REFUSAL_TIMEOUT_S)

    assert str(derper.port) in refusal.string


PAIRS = {
    "listen and pipe": (("listen",), ("pipe",)),
    "send and receive": (("send", "--text", "by a code"), ("receive", "-o", "-")),
    "receive and send": (("receive", "-o", "-"), ("send", "--text", "by a code", "--to")),
    "share and open": (("share", "9"), ("open",)),
}
CODE_EVENT = r'"event": "code", .*"code": "([^"]+)"'


@pytest.mark.parametrize("pair", PAIRS)
def test_a_code_serves_over_derper(derper: RelayServer, tmp_path: Path, pair: str) -> None:
    issue, use = PAIRS[pair]
    issuing = Process("issuer", derphole(*issue, "--json", *derper.arguments), tmp_path)
    with running(issuing):
        code = issuing.await_line(CODE_EVENT, FIRST_BYTES_TIMEOUT_S).group(1)
        stdin = subprocess.PIPE if use == ("pipe",) else subprocess.DEVNULL
        command = derphole(*use, code, *derper.arguments)
        using = Process("claimer", command, tmp_path, stdin=stdin)
        with running(using):
            if use == ("open",):
                using.await_line("^listening on ", FIRST_BYTES_TIMEOUT_S)
                return
            if use == ("pipe",):
                using.feed(b"by a code", TRANSFER_TIMEOUT_S)
                using.end_input()
            assert using.wait(TRANSFER_TIMEOUT_S) == 0, using.stderr
            assert issuing.wait(TRANSFER_TIMEOUT_S) == 0, issuing.stderr


def test_a_code_hands_a_key_over_by_derper(derper: RelayServer, tmp_path: Path) -> None:
    machine = Machine()
    try:
        machine.empty_home()
        key = make_key(tmp_path / "key", "ed25519")
        where = ("--user", machine.user, "--port", str(machine.port), "--yes", "--json")
        command = derphole("ssh", "invite", *where, *derper.arguments)
        inviting = Process("invite", command, tmp_path)
        with running(inviting):
            code = inviting.await_line(CODE_EVENT, FIRST_BYTES_TIMEOUT_S).group(1)
            assert len(code.split("-")) == 5
            command = derphole("ssh", "accept", "--yes", "-F", key, *derper.arguments, code)
            accepting = Process("accept", command, tmp_path)
            with running(accepting):
                assert accepting.wait(TRANSFER_TIMEOUT_S) == 0, accepting.stderr
                assert inviting.wait(TRANSFER_TIMEOUT_S) == 0, inviting.stderr
        assert machine.login(tmp_path / "key") == "in"
    finally:
        machine.close()
