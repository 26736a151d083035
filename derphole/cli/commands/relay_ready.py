"""How `derphole relay` says that it runs: its URL, and who can use it."""

import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from derphole.cli.commands.relay_options import RelayOptions
from derphole.cli.frame.output import Output
from derphole.status import Caution, JsonValue, Level, Notice, Status
from tunnel.addresses import bracketed, host_and_port
from tunnel.net.relay_server.server import (
    OWN_REGION_ID,
    Refusal,
    Refused,
    RelayLimits,
    encode_derp_map,
    is_loopback,
    is_unspecified,
    local_addresses,
    node_at,
    own_map,
    plain_address,
)
from tunnel.values import frozen, replace
from tunnel.wire.derpmap import (
    DEFAULT_DERP_PORT,
    DEFAULT_STUN_PORT,
    PIN_PREFIX,
    STUN_OFF,
    RelayNode,
)

if TYPE_CHECKING:
    from tunnel.net.relay_server.server import RelayServer, ServerCertificate

# How programs name the networks that they make for containers and virtual machines.
INNER_NETWORK = re.compile(
    r"(docker|podman|virbr|lxcbr|lxdbr|cni|cni-podman|vboxnet|vmnet)\d*$|br-[0-9a-f]{12}$"
)


@frozen
class RelayReady(Status):
    """The relay takes connections.

    Args:
        url: what `--relay` takes, with the pin of its public key if it serves TLS.
        derp_map_url: what `--derp-map` takes.
        stun: host and port of STUN, None without.
        others: the same URL by each other address of this machine.
        node: the relay as a node of a DERP map, for maps of one's own.
    """

    event = "relay-ready"
    level = Level.QUIET
    url: str
    derp_map_url: str
    stun: str | None
    others: tuple[str, ...]
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
            "other_urls": [*self.others],
            "node": self.node,
        }


def announce(
    server: "RelayServer",
    options: RelayOptions,
    certificate: "ServerCertificate | None",
    output: Output,
) -> None:
    """Say where a started relay is, and who can use it."""
    host, port = server.address
    source = plain_address(host)
    every = f"every address of this machine, port {port}"
    listens = f"listens on {every if is_unspecified(source) else host_and_port(host, port)}"
    if options.public is not None:
        output.report(_open_to_all(f"{listens} and is reached at {_base_url(server.node)}"))
    elif not is_loopback(source):
        output.report(_open_to_all(listens))
    if certificate is not None and not certificate.cert_name and options.public is None:
        output.report(
            Notice(
                "machines that trust the authority which signed the certificate can leave out "
                "#sha256:...; a URL that has it stops working when the certificate gets a new key"
            )
        )
    ready = describe(server, certificate)
    if ready.others:
        output.report(Notice(f"the relay is also at {', '.join(ready.others)}"))
    output.report(ready)


def _open_to_all(where: str) -> Caution:
    return Caution(
        f"the relay {where}: anyone who can connect to it can relay traffic through this machine"
    )


def describe(server: "RelayServer", certificate: "ServerCertificate | None") -> RelayReady:
    """Return what there is to know about a started relay."""
    best = server.node
    host, port = server.address
    nodes = [best]
    if best.host == host and is_unspecified(plain_address(host)):
        nodes = [node_at(best, each, port) for each in own_addresses(may_be_ipv6=":" in host)]
        best = nodes[0]
    url, *others = [relay_url(node, certificate) for node in nodes]
    stun = server.stun_address
    document = json.loads(encode_derp_map(own_map(best)))
    return RelayReady(
        url=url,
        derp_map_url=f"{_base_url(best)}/derpmap",
        stun=None if stun is None else host_and_port(best.host, stun[1]),
        others=tuple(others),
        node=document["Regions"][str(OWN_REGION_ID)]["Nodes"][0],
    )


def relay_url(node: RelayNode, certificate: "ServerCertificate | None") -> str:
    """Return what `--relay` takes for a node; a pin is that of the key, which outlives renewals.

    STUN is where clients look for it, or is named.  Where there is none, they may find another.
    """
    has_default_stun = node.stun_port in (DEFAULT_STUN_PORT, STUN_OFF)
    stun = "" if has_default_stun else f"?stun={node.stun_port}"
    pin = node.cert_name
    if certificate is not None and pin == certificate.cert_name:
        pin = f"{PIN_PREFIX}{certificate.key_pin.hex()}"
    return f"{_base_url(node)}{stun}" + (f"#{pin}" if pin else "")


def _base_url(node: RelayNode) -> str:
    """Return a node's URL up to its port, which is left out where it is the scheme's own."""
    scheme, usual = ("https", DEFAULT_DERP_PORT) if node.use_tls else ("http", 80)
    where = bracketed(node.host) if node.derp_port == usual else node.address
    return f"{scheme}://{where}"


def public_node(options: RelayOptions, certificate: "ServerCertificate | None") -> RelayNode | None:
    """Return how everybody reaches the relay, None for as it listens.

    Without a pin of its own a public URL leads to our certificate, unless a proxy has another.
    """
    node = options.public
    if node is None or node.cert_name or certificate is None or options.is_behind_proxy:
        return node
    return replace(node, cert_name=certificate.cert_name)


def words_of_refusal(refused: Refused, limits: RelayLimits) -> str:
    """Return what the operator is told of connections that were not served."""
    what = f"{refused.count} connections, at last" if refused.count > 1 else "a connection"
    who = f"refused {what} from {refused.source}"
    match refused.reason:
        case Refusal.SOURCE:
            proxy = "" if limits.is_behind_proxy else " (a reverse proxy needs --behind-proxy)"
            return (
                f"{who}: one address may have {limits.max_per_address}; --max-per-address allows "
                f"more{proxy}"
            )
        case Refusal.RATE:
            return f"{who}: its network begins too many a second"
        case Refusal.CLIENTS | Refusal.TOTAL:
            most = limits.routing.max_clients
            return f"{who}: every place is taken; --max-clients allows more than {most}"


def own_addresses(*, may_be_ipv6: bool) -> list[str]:
    """Return the addresses by which others may reach this machine, the best first.

    Those in networks of containers and virtual machines come last; loopback stands for none.
    """
    usable = [
        each
        for each in local_addresses()
        if not each.is_loopback and not each.is_link_local
        if may_be_ipv6 or ":" not in each.ip
    ]
    usable.sort(key=lambda each: (bool(INNER_NETWORK.match(each.interface)), ":" in each.ip))
    return [each.ip for each in usable] or ["127.0.0.1"]
