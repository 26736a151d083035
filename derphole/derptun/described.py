"""What `derptun status` is told of a running tunnel, and how a person reads it.

    {"command": "serve", "pid": 1, "since": 1800000000, "target": ..., "links": [...], ...}
    a link: {"token": ..., "id": ..., "path": ..., "since": ..., "sent": ..., "received": ...}

Bytes are those of the link, packet headers and repeats included.  Keys are only ever added.  Pure.
"""

from collections.abc import Iterator, Mapping, Sequence

from derphole.errors import utc_text
from derphole.status import size_text
from derphole.token.typed_times import spoken_duration
from tunnel.units import WallTime


def described_link(
    path: str, since: WallTime, sent: int, received: int, **who: object
) -> dict[str, object]:
    """Return one link as it is told.

    Args:
        path: that it uses now, in words.
        since: when it began.
        sent: bytes from here.
        received: bytes from there.
        who: whose it is, where there are several.
    """
    return {
        **who,
        "path": path,
        "since": round(since, 3),
        "sent": sent,
        "received": received,
    }


def status_lines(tunnels: Sequence[Mapping[str, object]], now: WallTime) -> Iterator[str]:
    """Yield the lines for a person."""
    for tunnel in tunnels:
        yield _tunnel_line(tunnel, now)
        links = tunnel.get("links")
        for link in links if isinstance(links, list) else []:
            yield f"    {_link_line(link, now)}"


def _tunnel_line(tunnel: Mapping[str, object], now: WallTime) -> str:
    command, pid = tunnel.get("command"), tunnel.get("pid")
    where = {
        "serve": f"{tunnel.get('target')} as server {tunnel.get('server')}",
        "open": f"{tunnel.get('address')} to server {tunnel.get('server')}",
    }.get(str(command), f"to server {tunnel.get('server')}")
    expires_at = tunnel.get("expires_at")
    until = f", until {utc_text(expires_at)}" if isinstance(expires_at, int) else ""
    state = "" if command == "serve" or tunnel.get("links") else ", down"
    return f"{command} {where} (process {pid}), for {_age(tunnel, now)}{until}{state}"


def _link_line(link: Mapping[str, object], now: WallTime) -> str:
    who = ""
    if link.get("id") is not None:
        who = f"client {link.get('token') or ''} {link.get('id')}: ".replace("  ", " ")
    sent, received = link.get("sent"), link.get("received")
    sizes = [size_text(each) for each in (sent, received) if isinstance(each, int)]
    bytes_text = f", sent {sizes[0]}, received {sizes[1]}" if len(sizes) == 2 else ""
    return f"{who}{link.get('path')}, for {_age(link, now)}{bytes_text}"


def _age(thing: Mapping[str, object], now: WallTime) -> str:
    since = thing.get("since")
    return spoken_duration(max(0.0, now - since)) if isinstance(since, int | float) else "?"
