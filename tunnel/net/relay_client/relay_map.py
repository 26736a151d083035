"""The relay map at run time: fetched or read, and kept for the day when it cannot be fetched.

    URL --> fetch --> decode --> cache file        FILE --> decode
              +-- fails: the cache file, with a notice

Everything that may block runs in gevent's thread pool.  Only what decodes as a map is ever written
to the cache, so that the sign-in page of a hotel's network never replaces a good copy.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, TypeVar, cast
from urllib.parse import urlsplit

import gevent

from tunnel.errors import DecodeError, RelayUnreachable
from tunnel.net.relay_client.proxy import ProxyAddress, ProxySettings
from tunnel.units import Seconds
from tunnel.wire.derpmap import MAX_MAP_SIZE, RelayMap, decode_derp_map

if TYPE_CHECKING:
    from http.client import HTTPResponse
    from urllib.request import OpenerDirector

P = ParamSpec("P")
T = TypeVar("T")

# Fixed by the protocol: where Tailscale publishes its relays.
PUBLIC_MAP_URL = "https://controlplane.tailscale.com/derpmap/default"

# Chosen.
FETCH_TIMEOUT_S = 3.0

_NEXT_STEP = "check the network, or choose relays with --derp-map FILE or --relay URL"


class MapOrigin(Enum):
    """Where a map came from."""

    FETCHED = "fetched"
    CACHED = "cached"
    FILE = "file"


@dataclass(frozen=True, slots=True)
class LoadedRelayMap:
    """A relay map; `notice` is a sentence for the person who runs this, or None."""

    map: RelayMap
    origin: MapOrigin
    notice: str | None = None


def load_relay_map(
    source: str | None,
    cache_file: Path | None,
    proxy: ProxySettings,
    timeout_s: Seconds = FETCH_TIMEOUT_S,
) -> LoadedRelayMap:
    """Return the map that `source` names.

    Args:
        source: an http or https URL, a file, or None for the public map.
        cache_file: where the map of this very source is kept; None = nowhere.
        proxy: the proxies of this machine.
        timeout_s: for fetching.

    Raises:
        RelayUnreachable: there is no map, in a sentence with the next step.
    """
    if source is not None and not source.startswith(("http://", "https://")):
        return _read_map_file(Path(source))
    url = source or PUBLIC_MAP_URL
    try:
        data, relay_map = _fetch_map(url, proxy, timeout_s)
    except (RelayUnreachable, DecodeError) as error:
        return _read_cache(cache_file, url, str(error))
    if not relay_map.regions:
        return _read_cache(cache_file, url, "it has no regions")
    return LoadedRelayMap(relay_map, MapOrigin.FETCHED, _write_cache(cache_file, data))


def _read_map_file(path: Path) -> LoadedRelayMap:
    try:
        relay_map = decode_derp_map(_in_thread(_read, path))
    except OSError as error:
        raise RelayUnreachable(
            f"the relay map {path} cannot be read ({(error.strerror or str(error)).lower()}); "
            "--derp-map takes a URL or a file"
        ) from error
    except DecodeError as error:
        raise RelayUnreachable(f"the file {path} is not a relay map: {error}") from error
    if not relay_map.regions:
        raise RelayUnreachable(f"the relay map {path} has no regions")
    return LoadedRelayMap(relay_map, MapOrigin.FILE)


def _fetch_map(url: str, proxy: ProxySettings, timeout_s: Seconds) -> tuple[bytes, RelayMap]:
    """Fetch and decode; raises `RelayUnreachable` or `DecodeError`."""
    late = RelayUnreachable(f"no answer within {timeout_s:.2g} s")
    with gevent.Timeout(timeout_s, late):
        data = _in_thread(_fetch, url, proxy, timeout_s)
    return data, decode_derp_map(data)


def _in_thread(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run what may block in the thread pool; raises the failures that callers here expect.

    They come back as values: the pool would print what is raised in it, traceback and all.
    """

    def run() -> T | Exception:
        try:
            return work(*args, **kwargs)
        except (OSError, RelayUnreachable, DecodeError) as error:
            return error

    result: T | Exception = gevent.get_hub().threadpool.apply(run)
    if isinstance(result, Exception):
        raise result
    return result


def _fetch(url: str, proxy: ProxySettings, timeout_s: Seconds) -> bytes:
    """Get a URL; runs in a thread.  Raises `RelayUnreachable` or `DecodeError`."""
    from http.client import HTTPException
    from urllib.error import HTTPError, URLError
    from urllib.request import Request

    try:
        request = Request(url, headers={"User-Agent": "derphole", "Accept": "application/json"})  # noqa: S310 - the scheme was checked
        with cast("HTTPResponse", _opener(proxy).open(request, timeout=timeout_s)) as response:
            data = response.read(MAX_MAP_SIZE + 1)
    except HTTPError as error:
        raise RelayUnreachable(f"HTTP {error.code}") from error
    except URLError as error:
        raise RelayUnreachable(_reason(error.reason)) from error
    except (OSError, HTTPException, ValueError) as error:
        raise RelayUnreachable(_reason(error)) from error
    if len(data) > MAX_MAP_SIZE:
        raise DecodeError(f"it is larger than {MAX_MAP_SIZE} bytes")
    return data


def _opener(proxy: ProxySettings) -> "OpenerDirector":
    """Build an opener for only http and https, which reads no environment."""
    import ssl
    from urllib import request as urllib

    import certifi

    class ProxyChoice(urllib.BaseHandler):
        """Sets the proxy of each request, those of redirects too."""

        handler_order = 100  # before the handlers that connect

        def http_open(self, request: urllib.Request) -> None:
            self._choose(request, 80)

        def https_open(self, request: urllib.Request) -> None:
            self._choose(request, 443)

        def _choose(self, request: urllib.Request, default_port: int) -> None:
            parts = urlsplit(request.full_url)
            use_tls = parts.scheme == "https"
            port = parts.port or default_port
            chosen = proxy.proxy_for(parts.hostname or "", port, use_tls=use_tls)
            if chosen is not None:
                _use_proxy(request, chosen)

    opener = urllib.OpenerDirector()
    for handler in (
        ProxyChoice(),
        urllib.HTTPHandler(),
        urllib.HTTPSHandler(context=ssl.create_default_context(cafile=certifi.where())),
        urllib.HTTPRedirectHandler(),
        urllib.HTTPDefaultErrorHandler(),
        urllib.HTTPErrorProcessor(),
        urllib.UnknownHandler(),
    ):
        opener.add_handler(handler)
    return opener


def _use_proxy(request: "object", proxy: ProxyAddress) -> None:
    from urllib.request import Request

    assert isinstance(request, Request)
    if proxy.authorization:
        request.add_header("Proxy-authorization", proxy.authorization)
    request.set_proxy(proxy.address, "http")


def _reason(error: object) -> str:
    """Return a cause without the noise of nested exceptions."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return "".join(char if char.isprintable() else "?" for char in str(text)[:200])


def _read_cache(cache_file: Path | None, url: str, reason: str) -> LoadedRelayMap:
    # Without what may be a password: user names and queries.
    shown = f"{url.partition('://')[0]}://{urlsplit(url).hostname}" if "@" in url else url
    failure = f"the relay map could not be fetched from {shown} ({reason})"
    if cache_file is None:
        raise RelayUnreachable(f"{failure}; {_NEXT_STEP}")
    try:
        relay_map = decode_derp_map(_in_thread(_read, cache_file))
        saved_at = datetime.fromtimestamp(cache_file.stat().st_mtime, UTC)
    except (OSError, DecodeError) as error:
        raise RelayUnreachable(f"{failure}, and no copy is saved; {_NEXT_STEP}") from error
    notice = f"{failure}; using the copy saved on {saved_at:%Y-%m-%d}"
    return LoadedRelayMap(relay_map, MapOrigin.CACHED, notice)


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MAX_MAP_SIZE + 1)


def _write_cache(cache_file: Path | None, data: bytes) -> str | None:
    """Keep a fetched map; returns a notice when that fails."""
    if cache_file is None:
        return None
    try:
        _in_thread(_replace, cache_file, data)
    except OSError as error:
        return f"the relay map could not be saved to {cache_file} ({error.strerror})"
    return None


def _replace(path: Path, data: bytes) -> None:
    """Write a file so that readers see the old or the new one, never a part."""
    import tempfile

    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
