"""Headscale's embedded relay on loopback: how it is built, configured and started.

It has a go.mod of its own: it asks for modules of hundreds of megabytes, and for another version of
tailscale.com than the other programs here.
"""

import contextlib
import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from interop_process import Process, running
from interop_servers import START_ATTEMPTS, await_probe, free_tcp_port
from interop_support import LOOPBACK, ROOT, require
from support.processes import record_figure

HEADSCALE_VERSION = "v0.29.0"
HEADSCALE_MODULE = ROOT / "tests" / "interop" / "headscale"
HEADSCALE_PACKAGE = "github.com/juanfont/headscale/cmd/headscale"
OUTPUT = ROOT / ".build" / "interop"
BUILD_TIMEOUT_S = 3000.0  # 900 packages, on two shared cores, downloads included

CONFIGURATION = """\
server_url: http://{host}:{port}
listen_addr: {host}:{port}
metrics_listen_addr: ""
grpc_listen_addr: {host}:0
noise:
  private_key_path: {folder}/noise.key
prefixes:
  v4: 100.64.0.0/10
  v6: fd7a:115c:a1e0::/48
  allocation: sequential
derp:
  server:
    enabled: true
    region_id: 999
    region_code: headscale
    region_name: Headscale
    {verify_clients}
    stun_listen_addr: {host}:{stun_port}
    private_key_path: {folder}/derp.key
    automatically_add_embedded_derp_region: true
    ipv4: {host}
  urls: []
  paths: []
  auto_update_enabled: false
disable_check_updates: true
database:
  type: sqlite
  sqlite:
    path: {folder}/headscale.db
dns:
  magic_dns: false
  base_domain: headscale.test
  override_local_dns: false
unix_socket: {folder}/headscale.sock
"""


def build_headscale() -> Path:
    """Build it into .build/interop; skips without Go, its toolchain or a module, and says so."""
    go = shutil.which("go")
    require(go, "Go is not installed (tests/interop/README.md says which version is needed)")
    assert go is not None
    OUTPUT.mkdir(parents=True, exist_ok=True)
    program = OUTPUT / "headscale"
    with (OUTPUT / "headscale.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two test runs at once build one after the other
        command = ["build", "-mod=readonly", "-buildvcs=false", "-o", str(program)]
        build = _run_go(go, *command, HEADSCALE_PACKAGE)
    if build.returncode == 0:
        return program
    listed = _run_go(go, "list", "-mod=readonly", "-deps", HEADSCALE_PACKAGE)
    if listed.returncode == 0:
        pytest.fail(f"headscale cannot be built:\n{build.stderr}", pytrace=False)
    reason = f"headscale {HEADSCALE_VERSION}: {listed.stderr.strip().splitlines()[-1]}"
    record_figure(f"headscale {HEADSCALE_VERSION}", f"not built: {reason}", "recorded")
    pytest.skip(reason)


def _run_go(go: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    # Its go.mod may name a newer Go than the installed one, which is then fetched as a module.
    environment = {**os.environ, "GOWORK": "off", "GOTOOLCHAIN": "auto"}
    return subprocess.run(
        ["nice", go, *arguments],
        cwd=HEADSCALE_MODULE,
        env=environment,
        capture_output=True,
        text=True,
        timeout=BUILD_TIMEOUT_S,
        check=False,
    )


@contextlib.contextmanager
def headscale(program: Path, verify_clients: bool | None) -> Iterator[str]:
    """Run it on a free port until the end of the block; yields the URL of its relay.

    Args:
        program: as `build_headscale` returns it.
        verify_clients: what its configuration says; None to leave it out.
    """
    with contextlib.ExitStack() as stack:
        for attempt in range(1, START_ATTEMPTS + 1):
            # Its control socket needs a short path.
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="headscale-")))
            port = free_tcp_port()
            process = _process(program, folder, port, verify_clients)
            stack.enter_context(running(process))
            try:
                await_probe(process, port, tls=False)
            except AssertionError:
                if "address already in use" in process.stderr and attempt < START_ATTEMPTS:
                    continue
                raise
            yield f"http://{LOOPBACK}:{port}"
            return


def _process(program: Path, folder: Path, port: int, verify_clients: bool | None) -> Process:
    line = "" if verify_clients is None else f"verify_clients: {str(verify_clients).lower()}"
    path = folder / "config.yaml"
    text = CONFIGURATION.format(
        host=LOOPBACK,
        port=port,
        stun_port=free_tcp_port(),
        folder=folder,
        verify_clients=line,
    )
    path.write_text(text)
    return Process("headscale", [program, "serve", "--config", path], folder)
