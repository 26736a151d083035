"""A home router's port mapping services without sockets: bytes in, bytes out, one mapping table.

It is written from the RFCs and the UPnP documents on its own and shares no code with the product.
Knobs are attributes that tests set; what it was asked is kept in `asked`.
"""

import re
from dataclasses import dataclass, field
from ipaddress import IPv6Address, ip_address

DESCRIPTION_PATH = "/rootDesc.xml"
CONTROL_PATH = "/ctl/IPConn"


@dataclass
class Entry:
    """One row of the mapping table."""

    internal_ip: str
    internal_port: int
    lease_s: int
    nonce: bytes = b""


@dataclass
class FakeGateway:
    """A router; `faults` has, by SOAP action, error codes to give before it obeys."""

    ip: str = "10.0.1.1"
    http_port: int = 5000
    external_ip: str = "5.5.5.10"
    has_pcp: bool = True
    has_natpmp: bool = True
    has_upnp: bool = True
    is_port_closed: bool = False  # nothing listens at 5351
    answers_other_versions: bool = False  # a complaint instead of silence
    pcp_result: int = 0
    natpmp_result: int = 0
    max_lifetime_s: int = 86400
    granted_port: int | None = None  # instead of what was suggested
    igd_version: int = 1
    location: str = ""
    control_url: str = CONTROL_PATH
    is_http_silent: bool = False
    only_permanent: bool = False
    is_chunked: bool = False
    faults: dict[str, list[int]] = field(default_factory=dict)
    table: dict[int, Entry] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    started_at: float = 0.0

    def reboot(self, now: float) -> None:
        """Forget everything and count from 0."""
        self.table.clear()
        self.started_at = now

    def answer_datagram(self, now: float, data: bytes, source_ip: str) -> bytes | None:
        """Answer what came to port 5351, or not."""
        epoch = int(now - self.started_at).to_bytes(4, "big")
        if data[:1] == b"\x02":
            self.asked.append("pcp")
            if self.has_pcp:
                return self._answer_pcp(epoch, data, source_ip)
            return (
                b"\0" + bytes((data[1] | 0x80, 0, 1)) + epoch
                if self.answers_other_versions
                else None
            )
        self.asked.append("natpmp")
        if self.has_natpmp:
            return self._answer_natpmp(epoch, data, source_ip)
        complaint = b"\x02" + bytes((data[1] | 0x80, 0, 1)) + bytes(4) + epoch + bytes(12)
        return complaint if self.answers_other_versions else None

    def answer_search(self, data: bytes) -> bytes | None:
        """Answer an M-SEARCH, or not."""
        self.asked.append("search")
        if not self.has_upnp or not data.startswith(b"M-SEARCH * HTTP/1.1\r\n"):
            return None
        location = self.location or f"http://{self.ip}:{self.http_port}{DESCRIPTION_PATH}"
        return (
            "HTTP/1.1 200 OK\r\nST: urn:schemas-upnp-org:device:InternetGatewayDevice:1\r\n"
            f"EXT:\r\nLOCATION: {location}\r\n\r\n"
        ).encode()

    def answer_http(self, request: bytes, source_ip: str) -> bytes | None:
        """Answer one HTTP request (status line to end), or not."""
        head, _, body = request.decode().partition("\r\n\r\n")
        method, path, _ = head.splitlines()[0].split(" ")
        action = re.search(r'SOAPAction: "[^#]*#(\w+)"', head)
        self.asked.append(action[1] if action else f"{method} {path}")
        if self.is_http_silent:
            return None
        if path == DESCRIPTION_PATH:
            return self._http(200, self._description())
        if action is None or path != CONTROL_PATH:
            return self._http(404, "<html>nothing here</html>")
        waiting = self.faults.get(action[1], [])
        code = waiting.pop(0) if waiting else 0
        arguments = dict(re.findall(r"<(New\w+)>([^<]*)</", body))
        code, values = (code, {}) if code else self._obey(action[1], arguments, source_ip)
        if code:
            return self._http(500, _fault(code))
        inner = "".join(f"<{name}>{value}</{name}>" for name, value in values.items())
        return self._http(200, _envelope(f"<u:{action[1]}Response>{inner}</u:{action[1]}Response>"))

    def _answer_pcp(self, epoch: bytes, data: bytes, source_ip: str) -> bytes:
        assert len(data) == 60
        assert data[1] == 1
        lifetime = int.from_bytes(data[4:8], "big")
        nonce, protocol = data[24:36], data[36]
        assert protocol == 17
        internal, external = int.from_bytes(data[40:42], "big"), int.from_bytes(data[42:44], "big")
        result = self.pcp_result
        if IPv6Address(data[8:24]) != _as_ipv6(source_ip):
            result = 12
        held = [
            port for port, row in self.table.items() if row.nonce and row.internal_port == internal
        ]
        if held and self.table[held[0]].nonce != nonce:
            result = 2
        if result:
            tail = data[24:60]
            return (
                b"\x02\x81\0"
                + bytes((result,))
                + (30).to_bytes(4, "big")
                + epoch
                + bytes(12)
                + tail
            )
        for port in held:
            external = port
            del self.table[port]
        lifetime = min(lifetime, self.max_lifetime_s)
        external = self.granted_port if self.granted_port is not None else external
        if lifetime:
            self.table[external] = Entry(source_ip, internal, lifetime, nonce)
        address = source_ip if ":" in source_ip else self.external_ip
        tail = data[24:42] + external.to_bytes(2, "big") + _as_ipv6(address).packed
        return b"\x02\x81\0\0" + lifetime.to_bytes(4, "big") + epoch + bytes(12) + tail

    def _answer_natpmp(self, epoch: bytes, data: bytes, source_ip: str) -> bytes:
        if data == b"\0\0":
            result = self.natpmp_result if self.natpmp_result == 3 else 0
            address = ip_address(self.external_ip).packed
            return b"\0\x80" + result.to_bytes(2, "big") + epoch + address
        assert data[:4] == b"\0\x01\0\0"
        assert len(data) == 12
        internal, external = int.from_bytes(data[4:6], "big"), int.from_bytes(data[6:8], "big")
        lifetime = min(int.from_bytes(data[8:12], "big"), self.max_lifetime_s)
        if self.natpmp_result:
            return b"\0\x81" + self.natpmp_result.to_bytes(2, "big") + epoch + data[4:12]
        for port in [port for port, row in self.table.items() if row.internal_port == internal]:
            del self.table[port]
        if lifetime:
            external = self.granted_port if self.granted_port is not None else external
            self.table[external] = Entry(source_ip, internal, lifetime)
        tail = (
            internal.to_bytes(2, "big") + external.to_bytes(2, "big") + lifetime.to_bytes(4, "big")
        )
        return b"\0\x81\0\0" + epoch + tail

    def _obey(
        self, action: str, arguments: dict[str, str], source_ip: str
    ) -> tuple[int, dict[str, str]]:
        port = int(arguments.get("NewExternalPort", "0"))
        if action == "GetExternalIPAddress":
            return 0, {"NewExternalIPAddress": self.external_ip}
        if action == "DeletePortMapping":
            return (0, {}) if self.table.pop(port, None) else (714, {})
        lease = int(arguments["NewLeaseDuration"])
        if self.only_permanent and lease:
            return 725, {}
        assert arguments["NewInternalClient"] == source_ip
        assert port >= 1024
        row = Entry(source_ip, int(arguments["NewInternalPort"]), lease)
        if action == "AddAnyPortMapping":
            while port in self.table:
                port += 1
            self.table[port] = row
            return 0, {"NewReservedPort": str(self.granted_port or port)}
        held = self.table.get(port)
        if held and (held.internal_ip, held.internal_port) != (row.internal_ip, row.internal_port):
            return 718, {}
        self.table[port] = row
        return 0, {}

    def _description(self) -> str:
        service = f"urn:schemas-upnp-org:service:WANIPConnection:{self.igd_version}"
        return (
            '<?xml version="1.0"?><root xmlns="urn:schemas-upnp-org:device-1-0"><device><serviceList>'
            f"<service><serviceType>{service}</serviceType>"
            f"<controlURL>{self.control_url}</controlURL></service></serviceList></device></root>"
        )

    def _http(self, status: int, body: str) -> bytes:
        coding = "Transfer-Encoding: chunked" if self.is_chunked else f"Content-Length: {len(body)}"
        text = f"{len(body):x}\r\n{body}\r\n0\r\n\r\n" if self.is_chunked else body
        head = f"HTTP/1.1 {status} Whatever\r\nContent-Type: text/xml\r\n{coding}\r\n\r\n"
        return (head + text).encode()


def _as_ipv6(address: str) -> IPv6Address:
    return IPv6Address(address if ":" in address else f"::ffff:{address}")


def _envelope(inner: str) -> str:
    return (
        '<?xml version="1.0"?><s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/">'
        f"<s:Body>{inner}</s:Body></s:Envelope>"
    )


def _fault(code: int) -> str:
    return _envelope(
        "<s:Fault><faultcode>s:Client</faultcode><detail><UPnPError>"
        f"<errorCode>{code}</errorCode><errorDescription>No Luck</errorDescription>"
        "</UPnPError></detail></s:Fault>"
    )
