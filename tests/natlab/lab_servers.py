"""Real servers in the lab: miniupnpd on a router, coturn as STUN server in the public namespace.

Needs the packages miniupnpd, miniupnpd-nftables and coturn, and that none of them runs as a daemon
of the machine itself.
"""

import contextlib
import subprocess
import time
import uuid
from collections.abc import Sequence
from pathlib import Path

from lab import Lab
from namespaces import LabError, Namespace

# Fixed by the protocols.
STUN_PORT = 3478
SSDP_PORT = 1900
PORT_MAP_PORT = 5351  # NAT-PMP and PCP

# Chosen.
READY_LIMIT_S = 10.0
POLL_S = 0.01
IGD_HTTP_PORT = 5000
MIN_LEASE_S = 5
MAX_LEASE_S = 86400
LOG_SHOWN_BYTES = 4000
# miniupnpd fills these chains and wants them to be there.  Its translations come one step before
# those of the router's own NAT; what it has translated passes the router's gate.
IGD_CHAINS = """
table inet igd {}
delete table inet igd
table inet igd {
 chain igd_pass {
 }
 chain igd_inwards {
 }
 chain igd_outwards {
 }
 chain pass {
  type filter hook forward priority 0;
  jump igd_pass
 }
 chain inwards {
  type nat hook prerouting priority -101;
  jump igd_inwards
 }
 chain outwards {
  type nat hook postrouting priority 99;
  jump igd_outwards
 }
}
"""


class PortMapper:
    """miniupnpd on a router: UPnP IGD, and NAT-PMP with PCP, as asked for.

    It keeps its mappings over `stop` and `start`.  It maps nothing while it takes the router's WAN
    address for private, as it does with documentation networks: give `Topology.public4` another.
    """

    def __init__(
        self,
        lab: Lab,
        site: str,
        *,
        upnp: bool = True,
        pmp: bool = True,
        max_lease_s: int = MAX_LEASE_S,
    ) -> None:
        self.router = lab.router(site)
        self._stem = lab.folder / f"igd-{site}"
        upnp_ports = {("tcp", IGD_HTTP_PORT), ("udp", SSDP_PORT)} if upnp else set()
        self._ports = upnp_ports | ({("udp", PORT_MAP_PORT)} if pmp else set())
        self.router.nft(IGD_CHAINS)
        self._write_configuration(upnp, pmp, max_lease_s)
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        """Start it and wait until it answers."""
        command = ["miniupnpd", "-d", "-f", self._file("conf"), "-P", self._file("pid")]
        self._process = _start_logged(self.router, command, self._file("log"))
        _await_bound(self.router, self._process, self._ports, self._file("log"))

    def stop(self) -> None:
        """End it, as a router does that is switched off; its mappings stay in the kernel."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def mappings(self) -> list[str]:
        """Return the translations that it has in force, as nftables prints them."""
        rules = self.router.run("nft", "list", "chain", "inet", "igd", "igd_inwards")
        return [line.strip() for line in rules.splitlines() if "dnat" in line]

    def leases_end(self) -> list[int]:
        """Return when each lease ends, in seconds since 1970."""
        lines = self._file("leases").read_text().splitlines()
        return [int(line.split(":")[4]) for line in lines]

    def forget_mappings(self) -> None:
        """Have no mapping in force, as after a router's restart; it is not told."""
        self.router.nft("flush chain inet igd igd_inwards\nflush chain inet igd igd_pass\n")
        self._file("leases").unlink(missing_ok=True)

    def _file(self, kind: str) -> Path:
        return self._stem.with_suffix(f".{kind}")

    def _write_configuration(self, upnp: bool, pmp: bool, max_lease_s: int) -> None:
        lines = {
            "ext_ifname": "wan",
            "listening_ip": "lan",
            "ipv6_disable": "yes",
            "http_port": IGD_HTTP_PORT,
            "enable_upnp": "yes" if upnp else "no",
            "enable_natpmp": "yes" if pmp else "no",
            "secure_mode": "yes",
            "system_uptime": "no",  # so that a restart is seen by its epoch
            "min_lifetime": MIN_LEASE_S,
            "max_lifetime": max_lease_s,
            "lease_file": self._file("leases"),
            "uuid": uuid.uuid4(),
            "upnp_table_name": "igd",
            "upnp_nat_table_name": "igd",
            "upnp_forward_chain": "igd_pass",
            "upnp_nat_chain": "igd_inwards",
            "upnp_nat_postrouting_chain": "igd_outwards",
        }
        text = "".join(f"{key}={value}\n" for key, value in lines.items())
        text += "allow 1024-65535 0.0.0.0/0 1024-65535\ndeny 0-65535 0.0.0.0/0 0-65535\n"
        self._file("conf").write_text(text)


def start_coturn(lab: Lab) -> tuple[str, str]:
    """Start coturn as STUN server on both public addresses, port 3478; return the addresses.

    With two addresses it answers RFC 5780's questions, from port 3479 too.
    """
    first, second = lab.public_addresses
    log = lab.folder / "coturn.log"
    command = ["turnserver", "-n", "--no-auth", "--stun-only", "-L", first, "-L", second]
    command += ["-p", str(STUN_PORT), "--no-tls", "--no-dtls", "--no-cli", "--log-file", "stdout"]
    command += ["--pidfile", str(lab.folder / "coturn.pid")]
    process = _start_logged(lab.public, command, log)
    _await_bound(lab.public, process, {("udp", STUN_PORT)}, log)
    return first, second


def _start_logged(
    namespace: Namespace, command: Sequence[object], log: Path
) -> subprocess.Popen[bytes]:
    with log.open("ab") as file:
        return namespace.start(command, stdout=file.fileno(), stderr=file.fileno())


def _await_bound(
    namespace: Namespace, process: subprocess.Popen[bytes], ports: set[tuple[str, int]], log: Path
) -> None:
    """Wait until every port is bound in the namespace; raises `LabError` with the server's log."""
    deadline = time.monotonic() + READY_LIMIT_S
    while not ports <= _bound_ports(namespace):
        if process.poll() is not None or time.monotonic() > deadline:
            words = log.read_text(errors="replace")[-LOG_SHOWN_BYTES:]
            raise LabError(f"{log.stem} has not bound {sorted(ports)}; it said:\n{words}")
        time.sleep(POLL_S)  # the kernel tells nobody that a port was bound


def _bound_ports(namespace: Namespace) -> set[tuple[str, int]]:
    """Return the protocols and ports that something in a namespace is bound to."""
    found = set()
    with namespace.entered():
        for table in ("tcp", "tcp6", "udp", "udp6"):
            with contextlib.suppress(FileNotFoundError):  # a kernel without IPv6
                rows = Path("/proc/thread-self/net", table).read_text().splitlines()[1:]
                for row in rows:
                    port = int(row.split()[1].rpartition(":")[2], 16)
                    found.add((table.removesuffix("6"), port))
    return found
