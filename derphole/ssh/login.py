"""How to log in, made of what the other side said: checked, since it ends up in commands and files.

A name that begins with a dash would be an option of ssh, and a line break another setting: what has
such in it is left out.  Pure.
"""

import re
import shlex
from collections.abc import Sequence

from derphole.speech.access_messages import Access
from derphole.ssh import USUAL_PORT
from derphole.ssh.public_key import KeyUnusable, parse_public_key
from tunnel.values import frozen

ALIAS = "derphole-"
LOCAL_PORT = 2222  # of a tunnel to a machine that is not reached
FOR_SSH = re.compile(r"[%\"'\\\n]")  # what ssh reads as something else in a file name
USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}\$?")
HOST = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,252}[A-Za-z0-9_])?|[0-9A-Fa-f:]{2,45}")


@frozen
class Login:
    """How to log in.

    Args:
        user: who to log in as.
        host: name or address of the machine.
        port: of its ssh server.
        alias: what it is called in ~/.ssh/config.
        key_file: of the private key; None where it is not known.
        host_keys: type and base64 of the server's public keys.
        is_reached: a server of that machine answered from here.
    """

    user: str
    host: str
    port: int
    alias: str
    key_file: str | None
    host_keys: tuple[str, ...]
    is_reached: bool

    @property
    def command(self) -> str:
        """The command, for a shell."""
        return self._command(self.host, self.port)

    def tunnel(self, spoken: str) -> list[str]:
        """The commands of a tunnel: of that machine, of this one, and to log in through it.

        Args:
            spoken: what people type to start the program.
        """
        return [
            f"{spoken} derptun serve --tcp 127.0.0.1:{self.port}",
            f"{spoken} derptun open TOKEN --listen 127.0.0.1:{LOCAL_PORT}",
            # Its keys are known by its own name: another machine may come to that port.
            self._command("127.0.0.1", LOCAL_PORT, "-o", f"HostKeyAlias={self.known_as}"),
        ]

    @property
    def known_hosts(self) -> list[str]:
        """Lines for ~/.ssh/known_hosts."""
        return [f"{self.known_as} {line}" for line in self.host_keys]

    @property
    def known_as(self) -> str:
        """What ssh calls the machine in ~/.ssh/known_hosts."""
        return self.host if self.port == USUAL_PORT else f"[{self.host}]:{self.port}"

    @property
    def block(self) -> list[str]:
        """Lines for ~/.ssh/config."""
        lines = [f"Host {self.alias}", f"    HostName {self.host}", f"    User {self.user}"]
        if self.port != USUAL_PORT:
            lines.append(f"    Port {self.port}")
        if self.key_file is not None and not FOR_SSH.search(self.key_file):
            lines.append(f"    IdentityFile {_quoted(self.key_file)}")
        return lines

    def lines(self, spoken: str) -> list[str]:
        """All of it, in the order in which a person uses it; `spoken` as `tunnel` has it."""
        lines = []
        if not self.is_reached:
            there, here, through = self.tunnel(spoken)
            lines += ["A tunnel reaches it.  On the other machine, run:", f"    {there}"]
            lines += ["On this one, with the token that it prints:", f"    {here}"]
            lines += ["While both run, log in with:", f"    {through}"]
            lines += ["Where the machine can be reached, without a tunnel:"]
        else:
            lines += ["Log in with:"]
        lines += [f"    {self.command}"]
        if self.host_keys:
            lines += ["For ~/.ssh/known_hosts:", *(f"    {line}" for line in self.known_hosts)]
        return [*lines, "For ~/.ssh/config:", *(f"    {line}" for line in self.block)]

    def _command(self, host: str, port: int, *options: str) -> str:
        words = ["ssh"]
        if port != USUAL_PORT:
            words += ["-p", str(port)]
        if self.key_file is not None:
            words += ["-i", self.key_file]
        return shlex.join([*words, *options, f"{self.user}@{host}"])


def checked_hosts(access: Access) -> list[str]:
    """Return the names and addresses that can be used in a command."""
    return [host for host in access.hosts if HOST.fullmatch(host)]


def checked_keys(access: Access) -> tuple[str, ...]:
    """Return type and base64 of the host keys that are keys."""
    return tuple(line for line in map(_key, access.host_keys) if line is not None)


def login_of(access: Access, host: str | None, key_file: str | None) -> Login | None:
    """Return how to log in; None where too little of what was said can be used.

    Args:
        access: what the other side said.
        host: where its server was found; None if nowhere: its first name or address is told.
        key_file: of the private key, None where it is not known.
    """
    hosts = checked_hosts(access)
    if not hosts or not access.port or not USER.fullmatch(access.user):
        return None
    # A name of its own choice could be one that the person uses for another machine.
    alias = ALIAS + hosts[0].partition(".")[0].replace(":", "-")
    keys, is_reached = checked_keys(access), host is not None
    return Login(access.user, host or hosts[0], access.port, alias, key_file, keys, is_reached)


def first_with(
    hosts: Sequence[str], found: dict[str, list[str]], keys: Sequence[str]
) -> str | None:
    """Return the first host whose server has one of these keys: another one has others.

    Args:
        hosts: in the order of preference.
        found: the keys of each host that answered.
        keys: those of the machine that is meant.
    """
    return next((host for host in hosts if set(found.get(host, ())) & set(keys)), None)


def _key(line: str) -> str | None:
    try:
        key = parse_public_key(line.encode())
    except KeyUnusable:
        return None
    return f"{key.type} {key.text}"


def _quoted(path: str) -> str:
    return f'"{path}"' if " " in path else path
