"""scripts/live-check against the embedded relay, and where there is no network at all."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.processes import PROGRAM, ROOT, clean_environment

from derphole.network.verdict import Verdict

pytestmark = pytest.mark.e2e

COMMAND = [sys.executable, ROOT / "scripts" / "hosts_lib" / "live_check.py", "--program", PROGRAM]
LIMIT_S = 120
ADDRESS = re.compile(r"\d+\.\d+\.\d+\.\d+|\[[0-9a-f:]+\]|://")


def check(folder: Path, *words: str, inside: tuple[str, ...] = (), relay: str = ""):
    environment = {**clean_environment(folder), "TMPDIR": str(folder)}
    if relay:
        environment["DERPHOLE_RELAY"] = relay
    done = subprocess.run(
        [*inside, *COMMAND, *words],
        env=environment,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert "Traceback" not in done.stderr
    assert not re.search(r"\bdhp1_", done.stdout + done.stderr)
    assert [name for name in os.listdir(folder) if name.startswith("two-hosts")] == []
    return done


@pytest.fixture
def alone() -> tuple[str, ...]:
    """What a command begins with that has no network but a loopback that is down."""
    words = ("unshare", "--map-root-user", "--net")
    if subprocess.run([*words, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this kernel lets nobody make a network namespace here")
    return words


def test_what_to_report_is_a_table_without_tokens_and_addresses(tmp_path: Path, relay_url: str):
    done = check(tmp_path, "--relay", relay_url)

    assert done.returncode == 0, done.stderr + done.stdout
    assert re.search(r"^program +v\d", done.stdout, re.MULTILINE)
    assert re.search(r"^system +\w+ .*, \w+$", done.stdout, re.MULTILINE)
    verdict = re.search(r"^netcheck: verdict +(\S+)$", done.stdout, re.MULTILINE)
    assert verdict is not None
    assert verdict[1] in set(Verdict)
    assert re.search(
        r"^netcheck: relays reached +own [\d.]+ ms +one +ok$", done.stdout, re.MULTILINE
    )
    for what, words in (("kept on the relay", "relay"), ("to a direct path", "relay then direct")):
        assert re.search(rf"^{what}: linked after +\d\.\d\d s$", done.stdout, re.MULTILINE)
        exact = rf"^{what}: bytes +1048576 of 1048576, the same SHA-256 +exact +ok$"
        assert re.search(exact, done.stdout, re.MULTILINE)
        path = rf"^{what}: path on both sides +{words} / {words} +{words} +ok$"
        assert re.search(path, done.stdout, re.MULTILINE)
    assert re.search(r"^(\d+) of \1 as they must be\n\Z", done.stdout, re.MULTILINE)
    assert not ADDRESS.search(done.stdout)


def test_addresses_are_shown_to_whoever_asks(tmp_path: Path, relay_url: str):
    done = check(tmp_path, "--addresses", relay=relay_url)

    assert done.returncode == 0, done.stderr + done.stdout
    shown = re.search(
        r"^kept on the relay: path at the end +relay own \((.*)\)$", done.stdout, re.MULTILINE
    )
    assert shown is not None
    assert relay_url.endswith(shown[1])


def test_without_a_network_it_says_so_and_fails(tmp_path: Path, alone: tuple[str, ...]):
    done = check(tmp_path, inside=alone)

    assert done.returncode == 1
    assert re.search(
        r"^scripts/live-check: no relay can be used from here, so nothing else was tried; netcheck "
        r"says no-network: This machine has no network connection",
        done.stderr,
        re.MULTILINE,
    )
    assert "FAILED" not in done.stdout


def test_a_relay_that_is_not_there_fails_and_its_address_is_not_shown(tmp_path: Path):
    done = check(tmp_path, "--relay", "http://127.0.0.1:9")

    assert done.returncode == 1
    assert "netcheck says no-relay" in done.stderr
    assert "127.0.0.1" not in done.stderr + done.stdout


def test_wrong_options_are_refused(tmp_path: Path):
    done = check(tmp_path, "--realy", "x")

    assert done.returncode == 2
    assert "unrecognized arguments: --realy x; see scripts/live-check --help" in done.stderr
