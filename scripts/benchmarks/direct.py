"""File to file by a direct path of 1500 bytes MTU, beside one TCP flow of iperf3 on the same path.

Two hosts, each behind a router of its own without NAT, in network namespaces (the lab of
tests/natlab): datagrams have at most 1400 bytes there, and nothing joins them on the way.  What the
kernel does in those routers is done on the same cores, and counted as work of whoever sends; TCP
has no offload there either.  Needs root, iproute2, nftables and iperf3; else there are no figures.
"""

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from figure import Figure
from processes import DERPHOLE, Process, Usage
from relayed import check_copy, timed, write_random

sys.path += [str(Path(__file__).resolve().parents[2] / "tests" / part) for part in ("natlab", "")]

from lab import Lab
from namespaces import missing_requirements, run_tool
from nat_kinds import NatKind

IPERF_S = 3
RELAY_PORT = 3340


def run(rounds: int, is_quick: bool) -> list[Figure]:
    missing = missing_requirements() or ("" if shutil.which("iperf3") else "iperf3 is missing")
    if missing:
        print(f"direct: left out, {missing}", file=sys.stderr)
        return []
    size = (64 << 20) if is_quick else (1 << 30)
    rates, tcp_rates, cpu = [], [], []
    with Lab() as lab, tempfile.TemporaryDirectory(prefix="derphole-bench-") as folder:
        for host in ("a", "b"):
            lab.set_nat(host, NatKind.NONE)
        source = Path(folder, "source")
        digest = write_random(source, size)
        for _ in range(rounds):
            tcp_rates.append(tcp_rate(lab) / 1e6)
            rate, usages = transfer_rate(lab, source, Path(folder, "copy"), digest, size)
            rates.append(rate / 1e6)
            cpu.append(sum(usage.cpu_s for usage in usages) / (size / (1 << 30)))
    ratios = [rate / tcp for rate, tcp in zip(rates, tcp_rates, strict=True)]
    return [
        Figure("direct, 1400-byte datagrams, vs iperf3 TCP", "x", ratios, 0.12, 0.2),
        Figure("  direct rate, whole processes", "MB/s", rates),
        Figure("  iperf3 TCP rate", "MB/s", tcp_rates),
        Figure("  CPU, both ends, what routers cost them included", "s/GiB", cpu),
    ]


def tcp_rate(lab: Lab) -> float:
    """Return bytes a second of one TCP flow from host a to host b."""
    server = subprocess.Popen(
        lab.host("b").command(["iperf3", "--server", "--one-off", "--forceflush"]),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdout is not None
    next(line for line in server.stdout if "listening" in line)
    client = ["iperf3", "-c", lab.host("b").address4, "-t", str(IPERF_S), "--json"]
    try:
        done = run_tool(lab.host("a").command(client))
    finally:
        server.kill()
        server.wait()
    return json.loads(done)["end"]["sum_received"]["bits_per_second"] / 8


def transfer_rate(
    lab: Lab, source: Path, copy: Path, digest: str, size: int
) -> tuple[float, list[Usage]]:
    """Return bytes a second from the start of `pipe` to its exit, and what both ends cost."""
    quiet = subprocess.DEVNULL
    relay = Process(
        lab.public.command(
            [*DERPHOLE, "relay", "--listen", f"{lab.public_addresses[0]}:{RELAY_PORT}"]
        ),
        quiet,
        quiet,
    )
    try:
        url = relay.wait_line(r"http://\S+")
        with copy.open("wb") as sink:
            listen = lab.host("b").command([*DERPHOLE, "listen", "--relay", url])
            receiver = Process(listen, quiet, sink)
        token = receiver.wait_line(r"dhp1_\S+")
        pipe = lab.host("a").command([*DERPHOLE, "pipe", token])
        with source.open("rb") as data:
            seconds, usages = timed(lambda: Process(pipe, data, quiet), receiver)
    finally:
        relay.stop()
    check_copy(copy, digest)
    return size / seconds, usages
