"""What the embedded relay answers to an HTTP request head, sans-IO.

    /derp                                  upgrade to DERP frames, or 400, 405, 426, 501, 503
    /derp/probe, /derp/latency-check       200, empty, readable from any web page
    /generate_204                          204 with the answer to a captive-portal challenge
    /derpmap                               DERP map with this relay as its only region
    /healthz                               ok
    /                                      what this is, for a person

Anything may be answered by 429 or 503 instead: too many come from one address or network.
Source: tailscale derp/derpserver/handler.go, cmd/derper/derper.go.  Knows no sockets.
"""

import re
from collections.abc import Mapping
from dataclasses import field
from ipaddress import ip_address

from tunnel.errors import DecodeError
from tunnel.proto.relay_server.connection_caps import Refusal
from tunnel.proto.relay_server.forwarded import NOT_FORWARDED, Forwarded
from tunnel.values import frozen, replace
from tunnel.wire import derpmap
from tunnel.wire.derp import PROTOCOL_VERSION
from tunnel.wire.derpmap import OWN_REGION_ID, RelayMap, RelayNode, RelayRegion
from tunnel.wire.http_head import (
    DERP_PATH,
    FAST_START_FIELD,
    RequestHead,
    encode_response_head,
)

# Fixed by the protocol.
REGION_CODE = "own"
PROBE_PATHS = ("/derp/probe", "/derp/latency-check")
CHALLENGE_FIELD = "x-tailscale-challenge"
_CHALLENGE = re.compile(r"[a-zA-Z0-9._:-]{1,64}")
REASONS = {
    101: "Switching Protocols",
    200: "OK",
    204: "No Content",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    426: "Upgrade Required",
    429: "Too Many Requests",
    501: "Not Implemented",
    503: "Service Unavailable",
}

ABOUT = (
    "This is a derphole relay.\n\n"
    "It passes sealed packets between two machines that cannot reach each other, and can read "
    "none of them.\nIt speaks DERP at /derp; its map is at /derpmap.\n"
)


@frozen
class Site:
    """What the pages say about the relay.

    Args:
        node: the relay as a map entry, for requests that do not tell how they reached it.
        public_key: the relay's public key (32 bytes).
        is_node_public: `node` is how everybody reaches it, whatever a request tells.
    """

    node: RelayNode
    public_key: bytes
    is_node_public: bool = False


@frozen
class Upgrade:
    """Go on with DERP frames, after `head` (empty for a fast start)."""

    head: bytes


@frozen
class Page:
    """An ordinary answer, after which the connection is closed."""

    status: int
    body: str = ""
    content_type: str = "text/plain; charset=utf-8"
    headers: Mapping[str, str] = field(default_factory=dict)


def answer(
    head: RequestHead, site: Site, *, is_full: bool, forwarded: Forwarded = NOT_FORWARDED
) -> Upgrade | Page:
    """Decide what a request gets; `is_full`: no further client may log in.

    `forwarded` is what a proxy tells of the request that can be believed.
    """
    if head.path == DERP_PATH:
        return _answer_derp(head, site, is_full=is_full)
    page = _find_page(head, site, forwarded)
    if page is None:
        return Page(404, "There is nothing here.\n")
    if head.method not in ("GET", "HEAD"):
        return Page(405, "Only GET and HEAD are answered here.\n", headers={"Allow": "GET, HEAD"})
    return page


def refusal_page(refusal: Refusal, most_of_source: int) -> Page:
    """Return what a connection is told that is not served; short, since clients show it whole."""
    if refusal is Refusal.SOURCE:
        return Page(
            429,
            f"your address has {most_of_source} connections here, as many as one may have; the "
            "relay's --max-per-address allows more\n",
        )
    return Page(503, "too many connections come from your network; try again later\n")


def encode_page(page: Page, *, with_body: bool = True) -> bytes:
    """Return the bytes of an answer; `with_body` is false for HEAD."""
    body = page.body.encode("utf-8")
    headers = dict(page.headers)
    if page.status != 204:
        headers |= {"Content-Type": page.content_type, "Content-Length": str(len(body))}
    options = [headers["Connection"]] if "Connection" in headers else []
    headers["Connection"] = ", ".join([*options, "close"])
    head = encode_response_head(page.status, REASONS[page.status], headers)
    return head + body if with_body else head


def own_map(node: RelayNode) -> RelayMap:
    """Return a map with this relay as its only region."""
    region = RelayRegion(OWN_REGION_ID, REGION_CODE, "Own relay", (node,))
    return RelayMap({OWN_REGION_ID: region})


def node_at(node: RelayNode, host: str, port: int) -> RelayNode:
    """Return the node as it is reached at another host and port."""
    try:
        is_ipv4 = ip_address(host).version == 4
    except ValueError:
        return replace(node, host=host, derp_port=port, ipv4="", ipv6="")
    ipv4, ipv6 = (host, derpmap.FAMILY_OFF) if is_ipv4 else (derpmap.FAMILY_OFF, host)
    return replace(node, host=host, derp_port=port, ipv4=ipv4, ipv6=ipv6)


def _answer_derp(head: RequestHead, site: Site, *, is_full: bool) -> Upgrade | Page:
    if head.method != "GET":
        return Page(405, "DERP is asked for by GET only.\n", headers={"Allow": "GET"})
    protocols = _protocols_asked_for(head)
    if not protocols & {"derp", "websocket"}:
        headers = {"Upgrade": "DERP", "Connection": "Upgrade"}
        return Page(426, "DERP requires connection upgrade\n", headers=headers)
    if head.has_body:
        return Page(400, "A request that asks for DERP has no content.\n")
    # Clients of old say websocket and mean plain frames; only the subprotocol means WebSocket.
    if "derp" not in protocols and "derp" in head.tokens("sec-websocket-protocol"):
        return Page(501, "This relay speaks DERP by 'Upgrade: DERP' only, not by WebSocket.\n")
    if is_full:
        return Page(503, "This relay serves as many clients as it may; try again later.\n")
    if head.headers.get(FAST_START_FIELD) == "1":
        return Upgrade(b"")
    fields = {
        "Upgrade": "DERP",
        "Connection": "Upgrade",
        "Derp-Version": str(PROTOCOL_VERSION),
        "Derp-Public-Key": site.public_key.hex(),
    }
    return Upgrade(encode_response_head(101, REASONS[101], fields))


def _protocols_asked_for(head: RequestHead) -> set[str]:
    """Return what the connection may be upgraded to (RFC 9110 section 7.8)."""
    if head.minor_version < 1 or "upgrade" not in head.tokens("connection"):
        return set()
    return set(head.tokens("upgrade"))


def _find_page(head: RequestHead, site: Site, forwarded: Forwarded) -> Page | None:
    match head.path:
        case "/":
            return Page(200, ABOUT)
        case "/healthz":
            return Page(200, "ok")
        case "/derpmap":
            return _derp_map(head, site, forwarded)
        case "/generate_204":
            return _no_content(head)
        case path if path in PROBE_PATHS:
            return Page(200, headers={"Access-Control-Allow-Origin": "*"})
    return None


def _derp_map(head: RequestHead, site: Site, forwarded: Forwarded) -> Page:
    node = site.node if site.is_node_public else _node_as_reached(head, site.node, forwarded)
    body = derpmap.encode_derp_map(own_map(node)).decode("ascii") + "\n"
    return Page(200, body, "application/json", {"Cache-Control": "no-store"})


def _node_as_reached(head: RequestHead, node: RelayNode, forwarded: Forwarded) -> RelayNode:
    """Return the relay as this client reached it: so can its peers, by that name and port."""
    scheme = forwarded.scheme or ("https" if node.use_tls else "http")
    host = forwarded.host or head.headers.get("host", "")
    try:
        (reached,) = derpmap.parse_relay_url(f"{scheme}://{host}").nodes
    except DecodeError:
        return node
    # What a proxy's certificate is, is not ours to say.
    cert_name = "" if forwarded.scheme else node.cert_name
    node = replace(node, use_tls=reached.use_tls, cert_name=cert_name)
    return node_at(node, reached.host, reached.derp_port)


def _no_content(head: RequestHead) -> Page:
    headers = {"Cache-Control": "no-cache, no-store, must-revalidate, max-age=0"}
    challenge = head.headers.get(CHALLENGE_FIELD, "")
    if _CHALLENGE.fullmatch(challenge):
        headers["X-Tailscale-Response"] = f"response {challenge}"
    return Page(204, headers=headers)
