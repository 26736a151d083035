"""`serve`: lets client tokens reach a TCP service of this machine, for months."""

from contextlib import closing, suppress
from pathlib import Path

from derphole.cli.derptun.client_source import REGISTRY_OPTION, read_registry, registry_path
from derphole.cli.derptun.one_off import new_client, one_off
from derphole.cli.derptun.service_set import keep
from derphole.cli.derptun.token_revoke import revocations_path
from derphole.cli.frame import sources
from derphole.cli.frame.arguments import Arguments
from derphole.cli.frame.network import network_options
from derphole.cli.frame.numbers import count
from derphole.cli.frame.options import ISSUER_OPTIONS, SOURCE_OPTIONS
from derphole.cli.frame.output import Output
from derphole.derptun.limits import DEFAULT_CLIENTS, MOST_CLIENTS
from derphole.derptun.minting import DAY_S, id_of_key, server_id
from derphole.derptun.registry import check_service_name
from derphole.derptun.statuses import TokenMade
from derphole.errors import Interrupted, UsageError
from derphole.forwarding.endpoints import parse_target
from derphole.status import Caution, Notice
from derphole.token.grant import MAX_NAME_SIZE
from derphole.token.pasted import pasted_token
from derphole.token.text import ClientToken, ServerToken
from derphole.token.validity import check_server
from tunnel.net.clock import wall
from tunnel.values import replace

USAGE = f"""\
Serve a TCP service that this machine reaches to whoever has a client token.

It runs until a signal ends it.  The token file and the file of revocations are read again when they
change, at SIGUSR1, and at SIGHUP where no terminal is gone by it.  Without a token one is made for
this run, and the command for the other machine is printed.

USAGE:
    derptun serve [options] [--] [TOKEN]

ARGUMENTS:
    TOKEN               The server token (default: the variable DERPTUN_TOKEN)

OPTIONS:
{SOURCE_OPTIONS}\
    --tcp TARGET                Where connections go: HOST:PORT, PORT of this machine,
                                [::1]:PORT or unix:PATH
    --max-clients N             Clients at once (default {DEFAULT_CLIENTS})
    --revoked FILE              The file of revocations (default: that of --token-file, with
                                .revoked behind its name)
    --replace                   End another `derptun serve` that has this token
    --register NAME             Keep a client token in this user's registry of services
{REGISTRY_OPTION}\
    --qr                        Without a token: show the client token as a QR code, too
{ISSUER_OPTIONS}
EXAMPLES:
    derptun serve --token-file server.dts --tcp 127.0.0.1:22
    derptun serve --tcp 8080
"""


def run(arguments: Arguments, output: Output) -> int:
    """Serve until a signal, and return 0."""
    options = network_options(arguments)
    options = replace(options, is_patient=options.timeout_s is None)  # a machine may boot
    text = arguments.text("--tcp")
    if not text:
        raise UsageError("--tcp TARGET is required: where connections go, as in --tcp 22")
    target = parse_target(text)
    clients = count("--max-clients", arguments.text("--max-clients"), DEFAULT_CLIENTS, MOST_CLIENTS)
    is_given = arguments.text("TOKEN") is not None or sources.is_given_elsewhere(arguments)
    if arguments.flag("--qr") and is_given:
        raise UsageError("--qr is for a run without a token, whose client token it shows")
    revoked = revocations_path(arguments)
    name = arguments.text("--register")
    if name is not None:
        check_service_name(name)

    from derphole.cli.frame.file_limit import raise_file_limit
    from derphole.cli.frame.signals import EndingSignals
    from derphole.derptun.serve import Serve, ServeOptions
    from derphole.derptun.watched_files import WatchedFiles
    from derphole.edges.status_socket import runtime_folder, told
    from derphole.forwarding.limits import MOST_CONNECTIONS

    given = None
    if is_given:  # before signals are taken: standard input may take its time
        given = check_server(pasted_token(sources.token_text(arguments, output)))
    if arguments.text("--revoked") is not None and not Path(str(revoked)).exists():
        output.report(Caution(f"{revoked} does not exist: so far no token is revoked"))
    raise_file_limit(MOST_CONNECTIONS)
    running: list[Serve] = []

    def look() -> None:
        for each in running:
            each.look()

    # A command that a person ends on purpose has not failed.
    with suppress(Interrupted), EndingSignals(on_request=look):
        if given is not None:
            server, client, on_ready = given, None, None
        else:
            server, client, on_ready = one_off(arguments, output, options)
        if name is not None:
            _register(arguments, output, name, server, client)
        files = WatchedFiles(server, arguments.text("--token-file"), revoked, output.report)
        wanted = ServeOptions(target, clients, replaces=arguments.flag("--replace"))
        serving = Serve(options, server, wanted, files, output.report)
        running.append(serving)
        with closing(files), told(runtime_folder(arguments.environ), serving.describe):
            serving.run(on_ready)
    return 0


def _register(
    arguments: Arguments,
    output: Output,
    name: str,
    server: ServerToken,
    client: ClientToken | None,
) -> None:
    """Keep a client token under a name, unless one of this server is there that is still good."""
    path = registry_path(arguments)
    kept = read_registry(path, output).get(name)
    is_good = kept is not None and id_of_key(kept.issuer_derp) == server_id(server)
    if client is None and kept is not None and is_good and kept.grant.expires_at > wall() + DAY_S:
        output.report(Notice(f"service {name} leads here already, by token {kept.grant.id.hex()}"))
        return
    client = client or new_client(server, name[:MAX_NAME_SIZE])
    keep(path, name, client)
    grant = client.grant
    output.report(TokenMade("client", grant.id.hex(), grant.name, grant.expires_at, path))
