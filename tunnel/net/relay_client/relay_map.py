"""The relay map at run time: fetched or read, and kept for the day when it cannot be fetched.

    URL --> fetch --> decode --> cache file        FILE --> decode
              +-- fails, or takes long: the cache file, with a notice
              +-- takes long, and there is none: waited for on

A fetch that nobody waits for any more goes on, and fills the cache for the next time.  Everything
that may block runs in gevent's thread pool.  Only what decodes as a map is ever written to the
cache, so that the sign-in page of a hotel's network never replaces a good copy.
"""

import os
from collections.abc import Callable
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, TypeVar, cast
from urllib.parse import urlsplit

import gevent

from tunnel.errors import DecodeError, ProxyUnsupported, RelayUnreachable
from tunnel.net.relay_client.proxy import ProxyAddress, ProxySettings
from tunnel.net.relay_client.tls import CA_FILE_HINT, PUBLIC_AUTHORITIES, Authorities
from tunnel.units import Seconds
from tunnel.values import frozen
from tunnel.wire.derpmap import MAX_MAP_SIZE, RelayMap, decode_derp_map

if TYPE_CHECKING:
    from http.client import HTTPResponse
    from urllib.request import OpenerDirector

    from gevent.event import AsyncResult

P = ParamSpec("P")
T = TypeVar("T")

# Fixed by the protocol: where Tailscale publishes its relays.
PUBLIC_MAP_URL = "https://controlplane.tailscale.com/derpmap/default"

# Chosen: the first for who has a copy; the other suits round trips of 3 s, of which it takes five.
FETCH_TIMEOUT_S = 3.0
FETCH_PATIENCE_S = 20.0


class MapOrigin(Enum):
    """Where a map came from."""

    FETCHED = "fetched"
    CACHED = "cached"
    FILE = "file"


@frozen
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
    patience_s: Seconds = FETCH_PATIENCE_S,
    on_late: Callable[[str], None] | None = None,
    authorities: Authorities = PUBLIC_AUTHORITIES,
) -> LoadedRelayMap:
    """Return the map that `source` names.

    Args:
        source: an http or https URL, a file, or None for the public map.
        cache_file: where the map of this very source is kept; None = nowhere.
        proxy: the proxies of this machine.
        timeout_s: for fetching, where there is a copy.
        patience_s: for fetching, where there is none.
        on_late: told, in a sentence, that the fetch takes longer than `timeout_s`.
        authorities: who may vouch for the server's certificate.

    Raises:
        RelayUnreachable: there is no map, in a sentence that says why.
    """
    if source is not None and not source.startswith(("http://", "https://")):
        return _read_map_file(Path(source))
    url = source or PUBLIC_MAP_URL
    fetch = _Fetch(url, proxy, cache_file, authorities)
    reason = fetch.failure_within(timeout_s)
    if reason is not None:
        copy = _read_copy(cache_file, url, reason)
        if copy is not None:
            return copy
    if reason is not None and not fetch.is_over and patience_s > timeout_s:
        if on_late is not None:
            on_late(f"the relay map is slow to come from {_shown(url)}; still waiting for it")
        reason = fetch.failure_within(patience_s - timeout_s, waited_s=timeout_s)
    if reason is None:
        return fetch.loaded()
    without_copy = ", and no copy is saved" if cache_file is not None else ""
    raise RelayUnreachable(f"{_failure(url, reason)}{without_copy}")


class _Fetch:
    """One fetch, in a thread; it goes on when nobody waits for it any more."""

    def __init__(
        self,
        url: str,
        proxy: ProxySettings,
        cache_file: Path | None,
        authorities: Authorities,
    ) -> None:
        self._result = _start(_fetch_map, url, proxy, cache_file, authorities)

    @property
    def is_over(self) -> bool:
        return bool(self._result.ready())

    def failure_within(self, timeout_s: Seconds, waited_s: Seconds = 0.0) -> str | None:
        """Return why there is no map after so long; None when there is one."""
        self._result.wait(max(0.0, timeout_s))
        if not self._result.ready():
            return f"no answer within {waited_s + timeout_s:.2g} s"
        result = self._result.get()
        return str(result) if isinstance(result, Exception) else None

    def loaded(self) -> LoadedRelayMap:
        """Return what was fetched; only where there is no failure."""
        result: LoadedRelayMap | Exception = self._result.get()
        assert not isinstance(result, Exception)
        return result


def _read_map_file(path: Path) -> LoadedRelayMap:
    try:
        relay_map = decode_derp_map(_in_thread(_read, path))
    except OSError as error:
        raise RelayUnreachable(
            f"the relay map {path} cannot be read ({(error.strerror or str(error)).lower()})"
        ) from error
    except DecodeError as error:
        raise RelayUnreachable(f"the file {path} is not a relay map: {error}") from error
    if not relay_map.regions:
        raise RelayUnreachable(f"the relay map {path} has no regions")
    return LoadedRelayMap(relay_map, MapOrigin.FILE)


def _fetch_map(
    url: str, proxy: ProxySettings, cache_file: Path | None, authorities: Authorities
) -> LoadedRelayMap:
    """Fetch, decode and keep; runs in a thread.  Raises `RelayUnreachable` or `DecodeError`."""
    data = _fetch(url, proxy, authorities)
    relay_map = decode_derp_map(data)
    if not relay_map.regions:
        raise DecodeError("it has no regions")
    return LoadedRelayMap(relay_map, MapOrigin.FETCHED, _write_cache(cache_file, data))


def _start(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> "AsyncResult[T | Exception]":
    """Run what may block in the thread pool; the failures that callers here expect are values.

    The pool would print what is raised in it, traceback and all.
    """

    def run() -> T | Exception:
        try:
            return work(*args, **kwargs)
        except (OSError, RelayUnreachable, ProxyUnsupported, DecodeError) as error:
            return error

    result: AsyncResult[T | Exception] = gevent.get_hub().threadpool.spawn(run)
    return result


def _in_thread(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run what may block in the thread pool and wait for it; raises its failures."""
    result: T | Exception = _start(work, *args, **kwargs).get()
    if isinstance(result, Exception):
        raise result
    return result


def _fetch(url: str, proxy: ProxySettings, authorities: Authorities) -> bytes:
    """Get a URL.  Raises `RelayUnreachable` or `DecodeError`."""
    from http.client import HTTPException
    from urllib.error import HTTPError, URLError
    from urllib.request import Request

    try:
        request = Request(url, headers={"User-Agent": "derphole", "Accept": "application/json"})  # noqa: S310 - the scheme was checked
        with cast(
            "HTTPResponse", _opener(proxy, authorities).open(request, timeout=FETCH_PATIENCE_S)
        ) as response:
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


def _opener(proxy: ProxySettings, authorities: Authorities) -> "OpenerDirector":
    """Build an opener for only http and https, which reads no environment."""
    import ssl
    from urllib import request as urllib

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authorities.load(context)

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
        urllib.HTTPSHandler(context=context),
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
    if hasattr(error, "verify_message"):
        text = f"its certificate cannot be trusted: {error.verify_message}; {CA_FILE_HINT}"
    return "".join(char if char.isprintable() else "?" for char in str(text)[:200])


def _shown(url: str) -> str:
    """Return a URL without what may be a password: user names and queries."""
    return f"{url.partition('://')[0]}://{urlsplit(url).hostname}" if "@" in url else url


def _failure(url: str, reason: str) -> str:
    return f"the relay map could not be fetched from {_shown(url)} ({reason})"


def _read_copy(cache_file: Path | None, url: str, reason: str) -> LoadedRelayMap | None:
    """Return the map as it was kept, with a notice; None where none was."""
    if cache_file is None:
        return None
    try:
        relay_map = decode_derp_map(_in_thread(_read, cache_file))
        saved_at = datetime.fromtimestamp(cache_file.stat().st_mtime, UTC)
    except (OSError, DecodeError):
        return None
    notice = f"{_failure(url, reason)}; using the copy saved on {saved_at:%Y-%m-%d}"
    return LoadedRelayMap(relay_map, MapOrigin.CACHED, notice)


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MAX_MAP_SIZE + 1)


def _write_cache(cache_file: Path | None, data: bytes) -> str | None:
    """Keep a fetched map; returns a notice when that fails."""
    if cache_file is None:
        return None
    try:
        _replace(cache_file, data)
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
