"""DERP servers on loopback: Tailscale's derper and derphole's embedded relay, as processes.

Nothing here knows the DERP protocol: a server is ready when it says so and answers a plain GET.
"""

import contextlib
import hashlib
import http.client
import json
import re
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from interop_process import Process, derphole, running
from interop_support import LOOPBACK, POLL_S, require

REGION_ID = 900  # the range 900-999 of region ids belongs to users

READY_TIMEOUT_S = 30.0
START_ATTEMPTS = 3  # a free port found for derper may be taken by someone else before it starts


class PortTaken(Exception):
    """The port that a server was to listen on belongs to another process."""


@dataclass(frozen=True, slots=True)
class RelayServer:
    """A running DERP server on loopback.

    Args:
        certificate_sha256: in hex; None for plain HTTP.
        map_path: a DERP map with this server alone; with TLS it pins the certificate, and without
            it says `PlainHTTP`, which Tailscale's programs do not know.
    """

    url: str
    port: int
    stun_port: int
    certificate_sha256: str | None
    map_path: Path

    @property
    def is_tls(self) -> bool:
        return self.certificate_sha256 is not None

    @property
    def arguments(self) -> list[str]:
        """The derphole options that lead to this server."""
        if self.is_tls:
            return ["--derp-map", str(self.map_path)]
        return ["--relay", self.url]


@contextlib.contextmanager
def derper_server(
    derper: Path, private: Path, *, tls: bool, flags: Sequence[str | Path] = ()
) -> Iterator[RelayServer]:
    """Run Tailscale's derper on a free loopback port, STUN included, until the end of the block."""
    with contextlib.ExitStack() as stack:
        for attempt in range(1, START_ATTEMPTS + 1):
            port = free_tcp_port()
            start = derper_on_port(derper, private, port, tls=tls, flags=flags)
            try:
                server = stack.enter_context(start)
            except PortTaken:
                if attempt < START_ATTEMPTS:
                    continue
                raise
            yield server
            return


@contextlib.contextmanager
def derper_on_port(
    derper: Path, private: Path, port: int, *, tls: bool, flags: Sequence[str | Path] = ()
) -> Iterator[RelayServer]:
    """Run derper on this port; with the same `private` again it is the same server, restarted.

    Raises:
        PortTaken: another process has the port.
    """
    command = [*_derper_command(derper, private, port, tls=tls), *flags]
    process = Process("derper", command, private)
    with running(process):
        try:
            server = _await_derper(process, private, port, tls=tls)
        except AssertionError as error:
            if "address already in use" in process.stderr:
                raise PortTaken(str(error)) from error
            raise
        yield server


def _derper_command(derper: Path, private: Path, port: int, *, tls: bool) -> list[str | Path]:
    command: list[str | Path] = [derper, "-a", f"{LOOPBACK}:{port}", "-http-port", "-1"]
    command += ["-stun-port", "0", "-mesh-psk-file", "", "-c", private / "derper.json"]
    if tls:
        command += ["-certmode", "manual", "-certdir", private / "certs", "-hostname", LOOPBACK]
    return command


def _await_derper(process: Process, private: Path, port: int, *, tls: bool) -> RelayServer:
    stun = process.await_line(rf"STUN server listening on {re.escape(LOOPBACK)}:(\d+)")
    pin = process.await_line(r'"CertName":"sha256-raw:([0-9a-f]{64})"').group(1) if tls else None
    await_probe(process, port, tls=tls)
    return relay_server(private, port, int(stun.group(1)), pin)


def relay_server(private: Path, port: int, stun_port: int, pin: str | None) -> RelayServer:
    """Describe a running server and write its DERP map; `pin` is of its certificate, if any."""
    scheme = "http" if pin is None else "https"
    map_path = write_derp_map(private / "map.json", port, stun_port, pin)
    return RelayServer(f"{scheme}://{LOOPBACK}:{port}", port, stun_port, pin, map_path)


def write_derp_map(path: Path, port: int, stun_port: int, pin: str | None) -> Path:
    """Write a DERP map of one region with one node, in Tailscale's JSON."""
    node = {
        "Name": f"{REGION_ID}a",
        "RegionID": REGION_ID,
        "HostName": LOOPBACK,
        "IPv4": LOOPBACK,
        "IPv6": "none",
        "DERPPort": port,
        "STUNPort": stun_port,
        **({"PlainHTTP": True} if pin is None else {"CertName": f"sha256-raw:{pin}"}),
    }
    region = {"RegionID": REGION_ID, "RegionCode": "local", "RegionName": "Local", "Nodes": [node]}
    path.write_text(json.dumps({"Regions": {str(REGION_ID): region}, "omitDefaultRegions": True}))
    return path


@contextlib.contextmanager
def embedded_relay(private: Path, *, tls: bool) -> Iterator[RelayServer]:
    """Run `derphole relay` on loopback, STUN included, until the end of the block."""
    command = derphole("relay", "--listen", f"{LOOPBACK}:0", "--stun-port", "0")
    pin = None
    if tls:
        certificate, key = self_signed_certificate(private)
        command += ["--tls-cert", certificate, "--tls-key", key]
        der = ssl.PEM_cert_to_DER_cert(certificate.read_text())
        pin = hashlib.sha256(der).hexdigest()
    with running(Process("derphole relay", command, private)) as process:
        address = re.escape(LOOPBACK)
        ready = process.await_line(
            rf"relay ready: https?://{address}:(\d+).*\(STUN on {address}:(\d+)\)"
        )
        yield relay_server(private, int(ready.group(1)), int(ready.group(2)), pin)


def self_signed_certificate(private: Path) -> tuple[Path, Path]:
    """Make a certificate for 127.0.0.1 with openssl, as its users do; return it and its key."""
    openssl = shutil.which("openssl")
    require(openssl, "openssl is not installed")
    assert openssl is not None
    certificate, key = private / "relay.crt", private / "relay.key"
    command = [openssl, "req", "-x509", "-nodes", "-days", "2", "-newkey", "ec"]
    command += ["-pkeyopt", "ec_paramgen_curve:prime256v1", "-subj", f"/CN={LOOPBACK}"]
    command += ["-addext", f"subjectAltName=IP:{LOOPBACK}"]
    command += ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True, timeout=READY_TIMEOUT_S)
    return certificate, key


def free_tcp_port() -> int:
    """Find a loopback port that is free now; derper cannot tell which port it chose itself."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def await_probe(process: Process, port: int, *, tls: bool) -> None:
    """Wait until the server answers GET /derp/probe, or fail with what it said."""
    deadline = time.monotonic() + READY_TIMEOUT_S
    while time.monotonic() < deadline and process.is_running:
        try:
            if http_get(port, "/derp/probe", tls=tls)[0] == http.HTTPStatus.OK:
                return
        except OSError:
            time.sleep(POLL_S)  # nobody listens yet, and no event tells when
    raise AssertionError(
        f"{process.name} does not answer on port {port}; it said:\n{process.stderr}"
    )


def http_get(port: int, path: str, *, tls: bool) -> tuple[int, dict[str, str], bytes]:
    """Fetch a path from loopback without any certificate check; status, headers and body."""
    if tls:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        connection: http.client.HTTPConnection = http.client.HTTPSConnection(
            LOOPBACK, port, timeout=READY_TIMEOUT_S, context=context
        )
    else:
        connection = http.client.HTTPConnection(LOOPBACK, port, timeout=READY_TIMEOUT_S)
    with contextlib.closing(connection):
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, dict(response.getheaders()), response.read()
