"""The commands of both programs.

A command is a module with a usage text and `run`; it is imported when it is called or when its
help is, so that `version` starts at once.  The imports are in functions, not in strings: the
frozen binary finds what it must contain by reading import statements.
"""

from collections.abc import Callable, Mapping
from dataclasses import field
from typing import Protocol

from derphole.cli.frame.arguments import Arguments
from derphole.cli.frame.output import Output
from tunnel.values import frozen

# Accepted for those who know it from the Go tool; it is in the help once it does something.
PARALLEL_OPTION = """

OPTIONS:
    -P, --parallel N            Use at most N direct lanes: 1-16 or auto
"""


class CommandModule(Protocol):
    """What every module of a command has."""

    @property
    def USAGE(self) -> str:  # noqa: N802 - a constant of the module
        """The usage text."""

    def run(self, arguments: Arguments, output: Output) -> int:
        """Run the command and return the exit code."""


@frozen
class Command:
    """A command of a program.

    Args:
        summary: half a sentence for the list of commands.
        load: imports its module.
        least: positional arguments it needs.
        most: positional arguments it takes; None for any number.
        takes_options: whether it has options of its own and needs docopt.
        unlisted: a section of options that it accepts and its help leaves out.
    """

    summary: str
    load: Callable[[], CommandModule]
    least: int = 0
    most: int | None = 0
    takes_options: bool = True
    unlisted: str = ""


@frozen
class Program:
    """One of the two programs.

    Args:
        name: "derphole" or "derptun".
        description: half a sentence.
        commands: by name, which may have two words; without `help`.
        examples: command lines.
        aliases: other names of commands, each with the command's own.
    """

    name: str
    description: str
    commands: Mapping[str, Command]
    examples: tuple[str, ...]
    aliases: Mapping[str, str] = field(default_factory=dict)

    @property
    def groups(self) -> frozenset[str]:
        """First words of commands that have two."""
        return frozenset(name.partition(" ")[0] for name in self.commands if " " in name)


def _load_version() -> CommandModule:
    from derphole.cli.commands import version

    return version


def _load_listen() -> CommandModule:
    from derphole.cli.commands import listen

    return listen


def _load_pipe() -> CommandModule:
    from derphole.cli.commands import pipe

    return pipe


def _load_send() -> CommandModule:
    from derphole.cli.commands import send

    return send


def _load_receive() -> CommandModule:
    from derphole.cli.commands import receive

    return receive


def _load_share() -> CommandModule:
    from derphole.cli.commands import share

    return share


def _load_open() -> CommandModule:
    from derphole.cli.commands import open as opening

    return opening


def _load_ssh_invite() -> CommandModule:
    from derphole.cli.commands import ssh_invite

    return ssh_invite


def _load_ssh_accept() -> CommandModule:
    from derphole.cli.commands import ssh_accept

    return ssh_accept


def _load_relay() -> CommandModule:
    from derphole.cli.commands import relay

    return relay


def _load_netcheck() -> CommandModule:
    from derphole.cli.commands import netcheck

    return netcheck


def _load_token_server() -> CommandModule:
    from derphole.cli.derptun import token_server

    return token_server


def _load_token_client() -> CommandModule:
    from derphole.cli.derptun import token_client

    return token_client


def _load_token_show() -> CommandModule:
    from derphole.cli.derptun import token_show

    return token_show


def _load_token_revoke() -> CommandModule:
    from derphole.cli.derptun import token_revoke

    return token_revoke


def _load_serve() -> CommandModule:
    from derphole.cli.derptun import serve

    return serve


def _load_tunnel_open() -> CommandModule:
    from derphole.cli.derptun import open as opening

    return opening


def _load_connect() -> CommandModule:
    from derphole.cli.derptun import connect

    return connect


def _load_service_set() -> CommandModule:
    from derphole.cli.derptun import service_set

    return service_set


def _load_service_list() -> CommandModule:
    from derphole.cli.derptun import service_list

    return service_list


def _load_service_rm() -> CommandModule:
    from derphole.cli.derptun import service_rm

    return service_rm


def _load_status() -> CommandModule:
    from derphole.cli.derptun import status

    return status


def _load_completion() -> CommandModule:
    from derphole.cli.completion import Completion

    return Completion(
        {
            program.name: {
                name: lambda command=command: command.load().USAGE  # type: ignore[misc]
                for name, command in program.commands.items()
            }
            for program in COMMANDS.values()
        }
    )


NETCHECK = Command("Check this network and say what works", _load_netcheck)
VERSION = Command("Print the version", _load_version, most=None, takes_options=False)

DERPHOLE_COMMANDS: Mapping[str, Command] = {
    "completion": Command("Print what makes a shell complete", _load_completion, 1, 1),
    "listen": Command("Receive one byte stream on standard output or into a file", _load_listen),
    "netcheck": NETCHECK,
    "pipe": Command(
        "Send standard input or a file to a listener",
        _load_pipe,
        most=2,
        unlisted=PARALLEL_OPTION,
    ),
    "receive": Command("Receive what another machine sends", _load_receive, most=1),
    "send": Command("Send files, folders, text or standard input", _load_send, most=None),
    "share": Command("Let another machine connect to a local TCP service", _load_share, 1, 1),
    "open": Command(
        "Open a local port that leads to a shared service",
        _load_open,
        most=2,
        unlisted=PARALLEL_OPTION,
    ),
    "ssh accept": Command(
        "Hand your public key to a machine that invites", _load_ssh_accept, most=1
    ),
    "ssh invite": Command("Let another machine's user log in here by ssh", _load_ssh_invite),
    "relay": Command("Run a relay for tests, a LAN or a small group", _load_relay),
    "version": VERSION,
}
DERPTUN_COMMANDS: Mapping[str, Command] = {
    "connect": Command("Connect standard input and output to a server", _load_connect, most=1),
    "netcheck": NETCHECK,
    "open": Command("Open a local port that leads to a server", _load_tunnel_open, most=1),
    "serve": Command("Serve a TCP service to client tokens", _load_serve, most=1),
    "service list": Command("List the services that are kept", _load_service_list),
    "service rm": Command("Forget a service", _load_service_rm, 1, 1),
    "service set": Command("Keep a client token under a name", _load_service_set, 1, 1),
    "status": Command("Say which tunnels of yours run here", _load_status),
    "token server": Command("Make a server token, or give one a later end", _load_token_server),
    "token client": Command("Make a client token from a server token", _load_token_client, most=1),
    "token show": Command("Print what a token is, without its secret", _load_token_show, most=1),
    "token revoke": Command("End a client token before its time", _load_token_revoke, 1, 1),
    "version": VERSION,
}

COMMANDS: Mapping[str, Program] = {
    "derphole": Program(
        "derphole",
        "move bytes between two machines without an open port or an account",
        DERPHOLE_COMMANDS,
        (
            "derphole send photo.jpg",
            "derphole receive CODE",
            "derphole share 8080",
            "derphole open TOKEN",
            "derphole help pipe",
        ),
        {"tx": "send", "rx": "receive", "recv": "receive", "recieve": "receive"},
    ),
    "derptun": Program(
        "derptun",
        "keep an encrypted link between two machines for months",
        DERPTUN_COMMANDS,
        (
            "derptun token server > server.dts",
            "derptun token client --token-file server.dts > client.dtc",
            "derptun serve --token-file server.dts --tcp 127.0.0.1:22",
            "derptun open --token-file client.dtc --listen 127.0.0.1:2222",
            "derptun connect --stdio --token-file client.dtc",
        ),
    ),
}
