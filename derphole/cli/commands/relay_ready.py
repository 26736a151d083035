"""How `derphole relay` says that it runs: its URL, and who can use it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from derphole.cli.frame.output import Output
from derphole.status import Caution, JsonValue, Level, Notice, Status
from tunnel.addresses import host_and_port
from tunnel.net.netcheck import local_addresses
from tunnel.net.relay_server.server import (
    OWN_REGION_ID,
    encode_derp_map,
    is_loopback,
    is_unspecified,
    node_at,
    own_map,
    plain_address,
)

if TYPE_CHECKING:
    from tunnel.net.relay_server.server import RelayServer, ServerCertificate


@dataclass(frozen=True, slots=True)
class RelayReady(Status):
    """The relay takes connections.

    Args:
        url: what `--relay` takes, with the pin of its public key if it serves TLS.
        derp_map_url: what `--derp-map` takes.
        stun: host and port of STUN, None without.
        node: the relay as a node of a DERP map, for maps of one's own.
    """

    event = "relay-ready"
    level = Level.QUIET
    url: str
    derp_map_url: str
    stun: str | None
    node: dict[str, JsonValue]

    @property
    def sentence(self) -> str:
        """What `--relay` takes, and where STUN is."""
        stun = f"STUN on {self.stun}" if self.stun else "no STUN"
        return f"relay ready: {self.url} ({stun})"

    @property
    def keys(self) -> Mapping[str, JsonValue]:
        """Everything that a program may want to pass on."""
        return {
            "url": self.url,
            "derp_map_url": self.derp_map_url,
            "stun": self.stun,
            "node": self.node,
        }


def announce(
    server: "RelayServer", certificate: "ServerCertificate | None", output: Output
) -> None:
    """Say where a started relay is, and who can use it."""
    host, port = server.address
    source = plain_address(host)
    if not is_loopback(source):
        every = f"every address of this machine, port {port}"
        where = every if is_unspecified(source) else host_and_port(host, port)
        output.report(
            Caution(
                f"the relay listens on {where}: anyone who can connect to it can relay traffic "
                "through this machine"
            )
        )
    if certificate is not None and not certificate.cert_name:
        output.report(
            Notice(
                "machines that trust the authority which signed the certificate can leave out "
                "#sha256:...; a URL that has it stops working when the certificate gets a new key"
            )
        )
    output.report(describe(server, certificate))


def describe(server: "RelayServer", certificate: "ServerCertificate | None") -> RelayReady:
    """Return what there is to know about a started relay."""
    host, port = server.address
    shown = own_address(may_be_ipv6=":" in host) if is_unspecified(plain_address(host)) else host
    base = f"{'https' if certificate else 'http'}://{host_and_port(shown, port)}"
    stun = server.stun_address
    document = json.loads(encode_derp_map(own_map(node_at(server.node, shown, port))))
    return RelayReady(
        url=f"{base}#sha256:{certificate.key_pin.hex()}" if certificate else base,
        derp_map_url=f"{base}/derpmap",
        stun=None if stun is None else host_and_port(shown, stun[1]),
        node=document["Regions"][str(OWN_REGION_ID)]["Nodes"][0],
    )


def own_address(*, may_be_ipv6: bool) -> str:
    """Return an address by which others may reach this machine, loopback if there is none."""
    addresses = [each.ip for each in local_addresses() if not each.is_loopback]
    ipv4 = [ip for ip in addresses if ":" not in ip]
    ipv6 = [ip for ip in addresses if ":" in ip] if may_be_ipv6 else []
    return next(iter(ipv4 + ipv6), "127.0.0.1")
