"""`relay`: run the embedded DERP and STUN server until a signal ends it."""

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from derphole.cli.commands.relay_options import RelayOptions, relay_options
from derphole.cli.frame.arguments import Arguments
from derphole.cli.frame.output import Output
from derphole.errors import Interrupted, RelayNotStarted
from derphole.status import Caution, Notice

if TYPE_CHECKING:
    from derphole.relay_key import LoadedKey
    from tunnel.crypto.keys import KeyPair
    from tunnel.net.relay_server.server import (
        ListenFailed,
        RelayLimits,
        RelayServer,
        ServerCertificate,
    )

USAGE = """\
Run a relay, on which two machines meet that cannot reach each other.

It is a DERP server with STUN for tests, a LAN or a small group; it forwards sealed packets and
cannot read them.  For larger needs run Tailscale's derper.

USAGE:
    derphole relay [options]

OPTIONS:
    --listen HOST:PORT          Where to listen (default 127.0.0.1:3340); :PORT means every
                                address of this machine
    --stun-port PORT|off        UDP port of STUN on the same host (default 3478)
    --tls-cert FILE             Certificate chain in PEM, to serve https
    --tls-key FILE              Its private key in PEM
    --public-url URL            How everybody reaches the relay, for its map and its ready line:
                                https://HOST[:PORT][#PIN] before a proxy with TLS
    --behind-proxy              Believe a reverse proxy on this machine or in a private network:
                                X-Forwarded-For, X-Forwarded-Proto and X-Forwarded-Host
    --max-clients N             Clients at once (default 1024)
    --max-per-address N         Connections at once from one address (default 64)
    --rate RATE                 Bytes a second taken from each client, such as 1250000 or 2M
                                (default: no limit)
    --key-file FILE             The relay's own key, kept across restarts; written if absent,
                                in the format of derper's -c file

EXAMPLES:
    derphole relay
    derphole relay --listen :3340
    derphole relay --key-file relay.json
    derphole relay --behind-proxy --public-url https://relay.example
    derphole relay --listen :443 --tls-cert relay.crt --tls-key relay.key
"""


def run(arguments: Arguments, output: Output) -> int:
    """Serve until SIGINT, SIGTERM or SIGHUP, and return 0."""
    options = relay_options(arguments)

    from derphole.cli.commands.relay_ready import announce
    from derphole.cli.frame.file_limit import raise_file_limit
    from derphole.cli.frame.signals import EndingSignals
    from tunnel.net.relay_server.server import SPARE_CONNECTIONS

    certificate = _certificate(options)
    loaded = _key(options, output)
    raise_file_limit(options.max_clients + SPARE_CONNECTIONS)
    # A command that a person ends on purpose has not failed.
    with suppress(Interrupted), EndingSignals():
        server = _started(options, loaded.keys, certificate, output)
        try:
            _keep_key(options, loaded, output)
            announce(server, options, certificate, output)
            server.wait()
        finally:
            server.stop()
    return 0


def _key(options: RelayOptions, output: Output) -> "LoadedKey":
    """Return the relay's key, a new one where there is no file; nothing is written yet."""
    from derphole.relay_key import LoadedKey, load_or_make
    from tunnel.crypto.keys import KeyPair
    from tunnel.units import KEY_SIZE

    if options.key_file is None:
        return LoadedKey(KeyPair.from_secret(os.urandom(KEY_SIZE)))
    loaded = load_or_make(options.key_file, os.urandom)
    if loaded.is_exposed:
        output.report(
            Caution(
                f"{options.key_file} can be read by other users of this machine: "
                f"run chmod 600 {options.key_file}"
            )
        )
    return loaded


def _keep_key(options: RelayOptions, loaded: "LoadedKey", output: Output) -> None:
    """Write a new key to its file, once the relay runs; raises `KeyFileUnusable`."""
    if not loaded.is_new or options.key_file is None:
        return
    from derphole.relay_key import write_new

    write_new(options.key_file, loaded.keys)
    output.report(Notice(f"wrote a new relay key to {options.key_file}"))


def _certificate(options: RelayOptions) -> "ServerCertificate | None":
    if options.certificate is None:
        return None
    from tunnel.net.relay_server.server import CertificateUnusable, load_certificate

    try:
        return load_certificate(*options.certificate)
    except CertificateUnusable as error:
        raise RelayNotStarted(
            str(error),
            "--tls-cert needs a PEM chain that begins with the relay's own certificate, --tls-key "
            "the key of that certificate without a passphrase",
        ) from error
    except OSError as error:
        raise RelayNotStarted(
            f"{error.filename} cannot be read: {error.strerror}", "check --tls-cert and --tls-key"
        ) from error


def _started(
    options: RelayOptions,
    keys: "KeyPair",
    certificate: "ServerCertificate | None",
    output: Output,
) -> "RelayServer":
    """Return the running server, without STUN if only the default STUN port was not free."""
    from derphole.cli.commands.relay_ready import public_node, words_of_refusal
    from tunnel.net.relay_server.server import ListenFailed, RelayServer

    limits = _limits(options)

    def server_with(stun: tuple[str, int] | None) -> "RelayServer":
        return RelayServer(
            options.listen,
            keys,
            stun,
            certificate.context if certificate else None,
            limits,
            certificate.cert_name if certificate else "",
            public_node(options, certificate),
            lambda refused: output.report(Caution(words_of_refusal(refused, limits))),
        )

    stun = None if options.stun_port is None else (options.listen[0], options.stun_port)
    server = server_with(stun)
    try:
        server.start()
    except ListenFailed as error:
        if error.purpose != "STUN" or options.stun_is_wanted:
            raise _not_listening(error) from error
        output.report(
            Caution(
                f"the relay runs without STUN, which {error}; direct paths are found by other "
                "means, or choose another UDP port with --stun-port"
            )
        )
    else:
        return server
    server = server_with(None)
    try:
        server.start()
    except ListenFailed as error:
        raise _not_listening(error) from error
    return server


def _limits(options: RelayOptions) -> "RelayLimits":
    from tunnel.net.relay_server.server import MAX_PER_ADDRESS, RelayLimits, RoutingLimits

    return RelayLimits(
        RoutingLimits(max_clients=options.max_clients, rate=options.rate),
        max_per_address=options.max_per_address or MAX_PER_ADDRESS,
        is_behind_proxy=options.is_behind_proxy,
    )


def _not_listening(error: "ListenFailed") -> RelayNotStarted:
    if error.purpose == "STUN":
        return RelayNotStarted(
            f"STUN {error}", "choose another port with --stun-port, or turn it off: --stun-port off"
        )
    step = "stop that program, or choose another address with --listen (port 0 takes any free one)"
    if error.is_forbidden:
        step = "choose a port above 1023 with --listen; lower ones need special rights"
    elif not error.is_taken:
        step = "choose another address with --listen"
    return RelayNotStarted(f"it {error}", step)
