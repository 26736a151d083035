"""TLS of the embedded relay: certificate and key files into a context, and what pins them.

A pin on the printed URL names the public key, so it outlives a renewal with the same key; the pin
in the map names the whole certificate, which is what Tailscale's clients check.  What loads OpenSSL
is imported only when a relay serves TLS: a crowd of strangers costs less than it does.
"""

import re
from pathlib import Path
from typing import TYPE_CHECKING

from tunnel.errors import DecodeError, TunnelError
from tunnel.values import frozen
from tunnel.wire.derpmap import RAW_PIN_PREFIX

if TYPE_CHECKING:
    from ssl import SSLContext

_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----", re.ASCII)


class CertificateUnusable(TunnelError):
    """A certificate or its key could not be used."""


@frozen
class ServerCertificate:
    """A server context and its pins.

    Args:
        context: TLS 1.2 or newer, HTTP/1.1 only.
        key_pin: SHA-256 of the public key (SubjectPublicKeyInfo).
        cert_name: for the map: a pin of the whole certificate if it is the only one in its file, so
            that it is probably self-signed; "" for a chain.
    """

    context: "SSLContext"
    key_pin: bytes
    cert_name: str


def load_certificate(cert_file: Path, key_file: Path) -> ServerCertificate:
    """Read PEM files, the leaf certificate first; raises `CertificateUnusable` or `OSError`.

    Blocks on the disk: for start-up only.
    """
    import ssl
    from hashlib import sha256

    from gevent.ssl import SSLContext as CooperativeContext

    from tunnel.net.pins import public_key_pin

    blocks = _CERTIFICATE.findall(cert_file.read_bytes())
    key_file.open("rb").close()  # an OSError that names the file; OpenSSL's does not
    if not blocks:
        raise CertificateUnusable(f"{cert_file} contains no PEM certificate")
    context = CooperativeContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    try:
        # A passphrase would be asked for on the terminal; an empty one fails instead.
        context.load_cert_chain(cert_file, key_file, password="")
        leaf = ssl.PEM_cert_to_DER_cert(blocks[0].decode("ascii"))
        pin = public_key_pin(leaf)
    except ssl.SSLError as error:
        said = (error.reason or "").replace("_", " ").lower()
        reason = said or "one of them is invalid"
        raise CertificateUnusable(
            f"{cert_file} and {key_file} cannot be used together: {reason}"
        ) from error
    except (ValueError, DecodeError) as error:
        raise CertificateUnusable(
            f"{cert_file} contains no readable certificate: {error}"
        ) from error
    stands_alone = len(blocks) == 1
    cert_name = RAW_PIN_PREFIX + sha256(leaf).hexdigest() if stands_alone else ""
    return ServerCertificate(context, pin, cert_name)
