"""The Go programs of the interoperability tests: how they are built, and the client's run."""

import fcntl
import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from interop_servers import RelayServer
from interop_support import LOOPBACK, ROOT, require

GO_MODULE = ROOT / "tests" / "interop"
GO_OUTPUT = ROOT / ".build" / "interop"

BUILD_TIMEOUT_S = 1500.0  # a cold build with downloads, on two shared cores
CLIENT_TIMEOUT_S = 120.0  # above the client's own deadline of 90 s


@dataclass(frozen=True, slots=True)
class GoTools:
    """Programs built from the one version of tailscale.com that go.mod pins."""

    derper: Path
    client: Path


def build_go_tools() -> GoTools:
    """Build both programs into .build/interop; skips without Go or without the modules."""
    go = shutil.which("go")
    require(go, "Go is not installed (tests/interop/README.md says which version is needed)")
    assert go is not None
    GO_OUTPUT.mkdir(parents=True, exist_ok=True)
    tools = GoTools(derper=GO_OUTPUT / "derper", client=GO_OUTPUT / "derpclient")
    with (GO_OUTPUT / "build.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two test runs at once build one after the other
        _go_build(go, tools.derper, "tailscale.com/cmd/derper")
        _go_build(go, tools.client, "./derpclient")
    return tools


def _go_build(go: str, output: Path, package: str) -> None:
    build = _run_go(go, "build", "-mod=readonly", "-buildvcs=false", "-o", str(output), package)
    if build.returncode == 0:
        return
    # Modules that cannot be had, or a Go that is too old, are a missing requirement of this
    # machine; anything else is a fault of ours.
    modules = _run_go(go, "mod", "download")
    require(modules.returncode == 0, f"Go modules cannot be fetched: {modules.stderr.strip()}")
    pytest.fail(f"go build {package} failed:\n{build.stderr}", pytrace=False)


def _run_go(go: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {"GOTOOLCHAIN": "local", **os.environ, "GOWORK": "off"}
    return subprocess.run(
        [go, *arguments],
        cwd=GO_MODULE,
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
