"""The settings that every command with a network shares.

Built once, in `derphole.cli.frame.network`, from arguments and environment; nothing below the
command line reads the environment, and tests pass settings of their own.
"""

from dataclasses import field
from pathlib import Path

from tunnel.addresses import host_and_port
from tunnel.units import MIB, ByteCount, Seconds
from tunnel.values import frozen

# Chosen: hours of a busy run; small enough for any disk, and for a fault report once compressed.
TRACE_SIZE: ByteCount = 64 * MIB


@frozen
class RelayAddress:
    """A relay of one's own: `https://host[:port][#PIN]` or `http://host[:port]`.

    Args:
        host: DNS name or IP address, without brackets.
        port: TCP port.
        tls: whether to speak TLS.
        pin: `sha256:HEX`, the SHA-256 of the relay's public key or of its certificate, or the
            first 16 bytes of it, or `sha256-raw:HEX`, that of only the certificate; None when a
            public authority vouches for it.
        stun: the port of its STUN server, or "off", as in a URL; None for the usual port.
    """

    host: str
    port: int
    tls: bool
    pin: str | None = None
    stun: str | None = None

    @property
    def url(self) -> str:
        """The relay as people write it, without the pin."""
        scheme = "https" if self.tls else "http"
        stun = f"?stun={self.stun}" if self.stun else ""
        return f"{scheme}://{host_and_port(self.host, self.port)}{stun}"


@frozen
class NetworkOptions:
    """How to reach relays and peers.

    Args:
        derp_map: URL or file of a relay map; None for the public one.
        relay: one relay to use instead of a map.
        force_relay: whether to stay on the relay.
        udp_port: of direct paths, as a router forwards it; 0 for any.
        timeout_s: bound of the wait for the other side; None for no bound.
        is_patient: nothing is given up that might come some day: `--timeout 0`.
        trace: file that gets the trace as JSON lines.
        trace_size: how large that file may grow.
        proxy_https: proxy for https destinations, as the environment has it.
        proxy_http: the same for http destinations; both are secret, they may carry a password.
        no_proxy: host names, suffixes and addresses that go without a proxy; "*" for all.
        ca_file: PEM file with authorities to trust beside the public ones.
        cert_file: the same in place of this system's authorities (SSL_CERT_FILE).
        cert_dir: folder of such files (SSL_CERT_DIR).
        cache_dir: folder for what may be fetched again; None when there is no home.
        code_words: words in a short code; None where no code is wanted.
    """

    derp_map: str | None = None
    relay: RelayAddress | None = None
    force_relay: bool = False
    udp_port: int = 0
    timeout_s: Seconds | None = None
    is_patient: bool = False
    trace: Path | None = None
    trace_size: ByteCount = TRACE_SIZE
    proxy_https: str | None = field(default=None, repr=False)
    proxy_http: str | None = field(default=None, repr=False)
    no_proxy: tuple[str, ...] = ()
    ca_file: Path | None = None
    cert_file: Path | None = None
    cert_dir: Path | None = None
    cache_dir: Path | None = None
    code_words: int | None = None
