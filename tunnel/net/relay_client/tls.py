"""TLS towards a relay: what is verified, and what of the certificate goes into tokens.

    cert_name           verified
    ""                  chain up to an authority (`Authorities`), and the name `host`
    another name        the chain, and that name (the server name sent stays `host`)
    sha256-raw:HEX      SHA-256 of the certificate; no chain, no name, no dates
    sha256:HEX          16 to 32 bytes: prefix of SHA-256 of its public key or of the certificate

A pin names one certificate or key by itself, so nothing else about the certificate could add to it.
Sources: derphttp_client.go and net/tlsdial/tlsdial.go of tailscale; RFC 6125 for names.  `ssl` is
imported here only when a relay is dialled: it costs a fifth of the start-up time.
"""

import ipaddress
import sys
from contextlib import suppress
from functools import lru_cache
from hashlib import sha256
from hmac import compare_digest
from pathlib import Path
from typing import TYPE_CHECKING

import gevent
from gevent import socket

from tunnel.addresses import without_zone
from tunnel.errors import (
    DecodeError,
    RelayDistrusted,
    RelayError,
    RelayNotDerp,
    RelayRefused,
    RelayUnreachable,
)
from tunnel.net.pins import SHORT_PIN_SIZE, pin_matches, public_key_pin
from tunnel.values import frozen
from tunnel.wire.derpmap import PIN_PREFIX, RAW_PIN_PREFIX, RelayNode

if TYPE_CHECKING:
    from ssl import SSLContext

CA_FILE_HINT = "--ca-file FILE names an authority of your own, as SSL_CERT_FILE does"
SYSTEM_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)

_SHA256_SIZE = 32
# Fixed by OpenSSL: X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN and UNABLE_TO_GET_ISSUER_CERT_LOCALLY.
_UNKNOWN_ISSUER = (19, 20)
_NOT_YET_VALID, _EXPIRED = 9, 10  # fixed by OpenSSL: X509_V_ERR_CERT_NOT_YET_VALID and its like


@frozen
class Authorities:
    """Who may vouch for a certificate: certifi's roots, this system's, and those named here.

    Args:
        ca_file: PEM file with authorities of one's own.
        cert_file: PEM file that stands in for the system's, as SSL_CERT_FILE does.
        cert_dir: folder of PEM files by hash that does, as SSL_CERT_DIR.
    """

    ca_file: Path | None = None
    cert_file: Path | None = None
    cert_dir: Path | None = None

    def load(self, context: "SSLContext") -> None:
        """Have a context trust them; reads files, some of which take 10 ms and more."""
        import certifi

        context.load_verify_locations(cafile=certifi.where())
        if self.cert_file is not None or self.cert_dir is not None:
            for name, path in (("cafile", self.cert_file), ("capath", self.cert_dir)):
                if path is not None:
                    with suppress(OSError):  # as OpenSSL does with what is not there
                        context.load_verify_locations(**{name: str(path)})
        else:
            _load_system_authorities(context)
        if self.ca_file is not None:
            context.load_verify_locations(cafile=str(self.ca_file))


PUBLIC_AUTHORITIES = Authorities()


def _load_system_authorities(context: "SSLContext") -> None:
    import ssl

    paths = ssl.get_default_verify_paths()
    if sys.platform == "win32" or paths.cafile is not None or paths.capath is not None:
        context.load_default_certs()
        return
    # An OpenSSL that came along with the program looks where it was built.
    for bundle in SYSTEM_BUNDLES:
        with suppress(OSError):
            context.load_verify_locations(cafile=bundle)
            return


def start_tls(
    sock: socket.socket, node: RelayNode, authorities: Authorities
) -> tuple[socket.socket, bytes | None]:
    """Do the TLS handshake and verify the relay; the caller bounds the time.

    Args:
        sock: connected; closed when this fails.
        node: whose `host` and `cert_name` decide what is verified.
        authorities: who may vouch for it.

    Returns:
        The TLS socket, and the 16-byte pin of the public key unless the certificate is publicly
        trusted for `host`.

    Raises:
        RelayError: with a text that continues a sentence about the relay.
    """
    import ssl

    from gevent.ssl import SSLSocket

    is_pinned = node.cert_name.startswith((RAW_PIN_PREFIX, PIN_PREFIX)) or node.insecure_for_tests
    context = _context(authorities, verifies=not is_pinned, checks_host=not node.cert_name)
    tls = SSLSocket(
        sock,
        server_hostname=without_zone(node.host),
        do_handshake_on_connect=False,
        _context=context,
    )
    try:
        tls.do_handshake()
        leaf = tls.getpeercert(binary_form=True) or b""
        _verify(node, leaf, tls.getpeercert())
        is_public = not is_pinned and not node.cert_name
        return tls, None if is_public else public_key_pin(leaf)[:SHORT_PIN_SIZE]
    except (OSError, DecodeError) as error:
        tls.close()
        raise _explained(error, ssl.SSLError, ssl.SSLCertVerificationError) from error
    except BaseException:
        tls.close()
        raise


def _explained(
    error: OSError | DecodeError, tls_error: type[OSError], wrong_certificate: type[OSError]
) -> RelayError:
    if isinstance(error, DecodeError):
        return RelayDistrusted(f"has a certificate that cannot be read: {error}")
    if isinstance(error, wrong_certificate):
        reason = str(getattr(error, "verify_message", "") or error.strerror).rstrip(".")
        if getattr(error, "verify_code", 0) in (_NOT_YET_VALID, _EXPIRED):
            reason = f"{reason}, by this machine's clock"
        if getattr(error, "verify_code", 0) in _UNKNOWN_ISSUER:
            reason = f"{reason} ({CA_FILE_HINT})"
        return RelayDistrusted(f"has a certificate that cannot be trusted: {reason}")
    if isinstance(error, tls_error) and "EOF" not in str(error):
        reason = str(getattr(error, "reason", None) or error.strerror)
        if "ALERT" in reason or "UNRECOGNIZED_NAME" in reason:
            return RelayRefused(
                f"broke off the TLS handshake ({reason}), as servers do for a name they do not know"
            )
        return RelayNotDerp(
            f"does not speak TLS correctly ({reason}): if it is a relay without TLS, its URL "
            "begins with http://, not with https://"
        )
    return RelayUnreachable("closed the connection during the TLS handshake")


def _verify(node: RelayNode, leaf: bytes, parsed: dict[str, object] | None) -> None:
    """Check what OpenSSL did not; raises `RelayDistrusted`."""
    name = node.cert_name
    if node.insecure_for_tests or not name:
        return
    if name.startswith(RAW_PIN_PREFIX):
        wanted = _pin_bytes(name.removeprefix(RAW_PIN_PREFIX))
        if len(wanted) == _SHA256_SIZE and compare_digest(wanted, sha256(leaf).digest()):
            return
    elif name.startswith(PIN_PREFIX):
        if pin_matches(_pin_bytes(name.removeprefix(PIN_PREFIX)), leaf):
            return
    elif certificate_covers(parsed or {}, name):
        return
    else:
        raise RelayDistrusted(
            f"has a certificate that is not valid for {name}", public_key_pin(leaf)
        )
    raise RelayDistrusted(
        "has a certificate that does not match its pin: it is not the relay that was meant, or its "
        "certificate was renewed and the pin is out of date",
        public_key_pin(leaf),
    )


def shown_pin(sock: socket.socket, host: str) -> bytes:
    """Return the pin, 32 bytes, of the key that a TLS server shows; none of it is verified.

    The caller bounds the time.  Raises `OSError`, `DecodeError`.
    """
    from gevent.ssl import SSLSocket

    context = _context(PUBLIC_AUTHORITIES, verifies=False, checks_host=False)
    tls = SSLSocket(sock, server_hostname=host, do_handshake_on_connect=False, _context=context)
    try:
        tls.do_handshake()
        return public_key_pin(tls.getpeercert(binary_form=True) or b"")
    finally:
        tls.close()


def send_close_notify(sock: socket.socket) -> None:
    """Tell a TLS server that nothing more comes, without waiting for its word; never blocks.

    What closes without it looks to the server like a connection that was cut.  A socket without
    TLS is left as it is.
    """
    tls = getattr(sock, "_sslobj", None)
    if tls is None:
        return
    # `unwrap` would wait for the server's own, beside the greenlet that reads.
    with suppress(OSError):  # it is still to come, or the connection is gone
        tls.shutdown()


def certificate_covers(parsed: dict[str, object], name: str) -> bool:
    """Tell whether a certificate's alternative names, as `getpeercert` gives them, cover `name`."""
    alternatives = parsed.get("subjectAltName", ())
    assert isinstance(alternatives, tuple)
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return any(kind == "DNS" and _name_matches(value, name) for kind, value in alternatives)
    return any(
        kind == "IP Address" and ipaddress.ip_address(value.strip()) == address
        for kind, value in alternatives
    )


def _name_matches(pattern: str, name: str) -> bool:
    """Compare DNS names; a first label `*` in the pattern stands for exactly one label."""
    pattern, name = pattern.lower().rstrip("."), name.lower().rstrip(".")
    if pattern.startswith("*."):
        first, _, parent = name.partition(".")
        return bool(first) and "." in parent and parent == pattern[2:]
    return pattern == name


def _pin_bytes(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        return b""


def _context(authorities: Authorities, *, verifies: bool, checks_host: bool) -> "SSLContext":
    # Reading 150 roots takes 10 ms and more: not on the event loop.
    pool = gevent.get_hub().threadpool
    context: SSLContext = pool.apply(_make_context, (authorities, verifies, checks_host))
    return context


@lru_cache(maxsize=8)
def _make_context(authorities: Authorities, verifies: bool, checks_host: bool) -> "SSLContext":
    import ssl

    from gevent.ssl import SSLContext as CooperativeContext

    context: SSLContext = CooperativeContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = verifies and checks_host
    context.verify_mode = ssl.CERT_REQUIRED if verifies else ssl.CERT_NONE
    # Automatic certificates of derpers offer h2 too, and the upgrade exists only in HTTP/1.1.
    context.set_alpn_protocols(["http/1.1"])
    if verifies:
        authorities.load(context)
    return context
