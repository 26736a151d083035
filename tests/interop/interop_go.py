"""The Go programs of the interoperability tests: how they are built, and the client's run.

Each version of derper has a go.mod of its own, for the newer one asks for a newer Go, which the `go`
command fetches as a module.  Where that, or one of its modules, is not to be had, the tests of this
version are skipped and the table of figures names it.
"""

import fcntl
import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from interop_servers import RelayServer
from interop_support import LOOPBACK, ROOT, require, skip_everywhere
from support.processes import record_figure

GO_MODULE = ROOT / "tests" / "interop"
GO_OUTPUT = ROOT / ".build" / "interop"

BUILD_TIMEOUT_S = 1500.0  # a cold build with downloads, on two shared cores
CLIENT_TIMEOUT_S = 120.0  # above the client's own deadline of 90 s


@dataclass(frozen=True, slots=True)
class DerperVersion:
    """A release of Tailscale's relay.

    Args:
        number: as the module has it.
        module: the folder of its go.mod.
        toolchain: the Go to build it with, as GOTOOLCHAIN takes it.
        is_optional: whether tests are skipped, also in CI, where it cannot be built.
    """

    number: str
    module: Path
    toolchain: str
    is_optional: bool

    @property
    def program(self) -> Path:
        """Where it is built to."""
        return GO_OUTPUT / f"derper-{self.number}"


DERPERS = (
    DerperVersion("v1.102.5", GO_MODULE, "local", is_optional=False),
    DerperVersion("v1.104.7", GO_MODULE / "derper_1_104", "auto", is_optional=True),
)


def build_go_client() -> Path:
    """Build the Go client into .build/interop; skips without Go or without the modules."""
    return _build(GO_OUTPUT / "derpclient", "./derpclient", DERPERS[0])


def build_derper(version: DerperVersion) -> Path:
    """Build a derper into .build/interop; skips without Go, the toolchain or the modules."""
    return _build(version.program, "tailscale.com/cmd/derper", version)


def _build(output: Path, package: str, version: DerperVersion) -> Path:
    go = shutil.which("go")
    require(go, "Go is not installed (tests/interop/README.md says which version is needed)")
    assert go is not None
    GO_OUTPUT.mkdir(parents=True, exist_ok=True)
    with (GO_OUTPUT / "build.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two test runs at once build one after the other
        command = ["build", "-mod=readonly", "-buildvcs=false", "-o", str(output), package]
        build = _run_go(go, version, *command)
    if build.returncode == 0:
        return output
    # Modules that cannot be had, or a Go that is too old, are a missing requirement of this
    # machine; anything else is a fault of ours.
    listed = _run_go(go, version, "list", "-mod=readonly", "-deps", package)
    if listed.returncode == 0:
        pytest.fail(f"go build {package} failed:\n{build.stderr}", pytrace=False)
    reason = f"derper {version.number} cannot be built: {listed.stderr.strip().splitlines()[-1]}"
    if version.is_optional:
        record_figure(f"derper {version.number}", reason, "recorded")
        skip_everywhere(reason)
    require(False, reason)
    raise AssertionError("skipped")


def _run_go(go: str, version: DerperVersion, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "GOWORK": "off", "GOTOOLCHAIN": version.toolchain}
    return subprocess.run(
        [go, *arguments],
        cwd=version.module,
        env=environment,
        capture_output=True,
        text=True,
        timeout=BUILD_TIMEOUT_S,
        check=False,
    )


def run_go_client(
    client: Path, server: RelayServer, *flags: str, pin: str | None = None
) -> tuple[int, dict[str, dict[str, object]]]:
    """Run every check of the Go client; return its exit code and the results by check."""
    command = [str(client), *flags]
    if pin or server.certificate_sha256:
        command += ["-pin", pin or server.certificate_sha256 or ""]
    command += ["-stun", f"{LOOPBACK}:{server.stun_port}", server.url]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=CLIENT_TIMEOUT_S, check=False
    )
    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert results, f"the Go client said nothing but: {done.stderr}"
    return done.returncode, {result["check"]: result for result in results}
