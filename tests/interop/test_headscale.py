"""Headscale's embedded relay: refuses unknown keys unless told otherwise, and then carries all."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from interop_headscale import HEADSCALE_VERSION, build_headscale, headscale
from interop_process import Process, derphole, running
from interop_support import MIB, file_sha256, write_random_file
from support.processes import record_figure

pytestmark = [pytest.mark.interop, pytest.mark.e2e, pytest.mark.timeout(3600)]

SIZE_BYTES = 8 * MIB
TOKEN_LINE = r"^dhp1_[A-Za-z0-9_-]{20,}$"
TRANSFER_TIMEOUT_S = 120.0
REFUSAL_S = 30.0
SLACK_S = 20.0
REFUSED = r"refused our key: .*Headscale's verify_clients"


@pytest.fixture(scope="module")
def program() -> Path:
    return build_headscale()


@pytest.fixture(scope="module", params=[None, True], ids=["left out", "true"])
def refusing(program: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of one that verifies its clients, as it does by default."""
    with headscale(program, request.param) as url:
        yield url


def test_a_headscale_that_admits_everybody_carries_a_transfer(
    program: Path, tmp_path: Path
) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    sent_digest = write_random_file(source, SIZE_BYTES)
    with (
        headscale(program, verify_clients=False) as url,
        target.open("wb") as output,
        source.open("rb") as file,
    ):
        listen = Process("listen", derphole("listen", "--relay", url), tmp_path, stdout=output)
        with running(listen):
            token = listen.await_line(TOKEN_LINE).group()
            started = time.monotonic()
            command = derphole("pipe", "--force-relay", token)
            pipe = Process("pipe", command, tmp_path, stdin=file)
            with running(pipe):
                assert pipe.wait(TRANSFER_TIMEOUT_S) == 0, pipe.stderr
                took_s = time.monotonic() - started
                assert listen.wait(TRANSFER_TIMEOUT_S) == 0, listen.stderr

    assert file_sha256(target) == sent_digest
    what = f"{SIZE_BYTES // MIB} MiB over headscale {HEADSCALE_VERSION}"
    record_figure(f"{what}: rate", f"{SIZE_BYTES / took_s / 1e6:.1f} MB/s", "recorded")


def test_a_headscale_that_refuses_our_key_is_named_and_both_commands_end_after_30_s(
    refusing: str, tmp_path: Path
) -> None:
    started = time.monotonic()
    listen = Process("listen", derphole("listen", "--relay", refusing), tmp_path)
    share = Process("share", derphole("share", "--relay", refusing, "1"), tmp_path)
    with running(listen), running(share):
        for side in (listen, share):
            side.await_line(f"^relay trouble: .*{REFUSED}")
            assert side.wait(REFUSAL_S + SLACK_S) == 1, side.stderr
            side.await_line(f"^no relay could be used: .*{REFUSED}.* given up after 30 s")
    took_s = time.monotonic() - started

    assert took_s >= REFUSAL_S
    what = f"headscale {HEADSCALE_VERSION} refuses our key: both commands have ended"
    record_figure(what, f"{took_s:.1f} s", "30 s")


def test_netcheck_calls_a_headscale_that_refuses_our_key_what_it_is(
    refusing: str, tmp_path: Path
) -> None:
    report = tmp_path / "report"
    with report.open("wb") as output:
        command = derphole("netcheck", "--json", "--relay", refusing)
        check = Process("netcheck", command, tmp_path, stdout=output)
        with running(check):
            assert check.wait(SLACK_S) == 1, check.stderr

    found = json.loads(report.read_text())
    assert found["verdict"] == "relay-refused"
    assert found["captive_portal"] is False
    assert found["relays"][0]["fault"] == "key-refused"
    assert "port 443" not in found["recommendation"]
