"""`token show`: what a token is, without its secret."""

import json

from derphole.cli.frame import sources
from derphole.cli.frame.arguments import Arguments
from derphole.cli.frame.options import SOURCE_OPTIONS
from derphole.cli.frame.output import Output
from derphole.derptun.minting import id_of_key, server_id
from derphole.errors import utc_text
from derphole.status import Notice
from derphole.token.hints import OwnRelay, RegionHints, RelayHints, own_relays
from derphole.token.pasted import pasted_token
from derphole.token.text import ServerToken, SessionToken, Token
from derphole.token.typed_times import spoken_duration
from tunnel.addresses import host_and_port
from tunnel.net.clock import wall
from tunnel.units import WallTime

USAGE = f"""\
Print what a token is: its role, id and name, until when it is good, and where both sides meet.  The
secret in it is not shown.

The report goes to standard error; with --json one JSON object goes to standard output.

USAGE:
    derptun token show [options] [--] [TOKEN]

ARGUMENTS:
    TOKEN               A server or client token (default: the variable DERPTUN_TOKEN)

OPTIONS:
{SOURCE_OPTIONS}
EXAMPLES:
    derptun token show --token-file client.dtc
    derptun token show --token-file server.dts --json
"""


def run(arguments: Arguments, output: Output) -> int:
    """Print it and return 0."""
    token = pasted_token(sources.token_text(arguments, output))
    facts = facts_of(token, wall())
    if output.is_json:
        output.payload_line(json.dumps(facts))
        return 0
    for name, value in facts.items():
        if name == "expires_at" or value in (None, ""):
            continue
        text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
        output.report(Notice(f"{name + ':':<10}{text}"))
    return 0


def facts_of(token: Token, now: WallTime) -> dict[str, object]:
    """Return what may be seen of a token."""
    if isinstance(token, ServerToken):
        role, expires_at = "server", token.expires_at
        names: dict[str, object] = {"id": server_id(token)}
    else:
        role = "session" if isinstance(token, SessionToken) else "client"
        grant, expires_at = token.grant, token.grant.expires_at
        names = {"id": grant.id.hex(), "name": grant.name, "server": id_of_key(token.issuer_derp)}
    left_s = expires_at - now
    age = f"in {spoken_duration(left_s)}" if left_s > 0 else f"{spoken_duration(-left_s)} ago"
    return {
        "role": role,
        **names,
        "expires_at": expires_at,
        "expires": f"{utc_text(expires_at)} ({age})",
        "relays": _relay_texts(token.hints),
    }


def _relay_texts(hints: RelayHints) -> list[str]:
    if not isinstance(hints, RegionHints):
        return [_relay_text(relay) for relay in own_relays(hints)]
    if not hints.ids:
        return ["three regions of the public map, by the server's key"]
    return [f"region {region} of the public map" for region in hints.ids]


def _relay_text(relay: OwnRelay) -> str:
    scheme = "https" if relay.tls else "http"
    pin = f"#sha256:{relay.pin.hex()}" if relay.pin else ""
    return f"{scheme}://{host_and_port(relay.host, relay.port)}{pin}"
