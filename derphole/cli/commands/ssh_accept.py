"""`ssh accept`: hands a public key to a machine that invites, and says how to log in there."""

from pathlib import Path
from typing import TYPE_CHECKING

from derphole.cli.commands.ssh_invite import asker
from derphole.cli.frame import sources
from derphole.cli.frame.arguments import Arguments
from derphole.cli.frame.network import network_options
from derphole.cli.frame.options import CLAIMER_OPTIONS, SOURCE_OPTIONS
from derphole.cli.frame.output import Output
from derphole.edges.public_keys import FoundKey, key_in_file, keys_in_folder, own_keys
from derphole.errors import GivingDeclined, NoKeyFound, SeveralKeys
from derphole.ssh.statuses import KeyShown, LoginTold
from derphole.status import Instruction, Notice
from derphole.token.grant import Capability
from derphole.token.pasted import pasted_token_or_code
from derphole.token.validity import check_token_or_code
from tunnel.net.clock import wall

if TYPE_CHECKING:
    from derphole.ssh.login import Login

USAGE = f"""\
Hand your public key to a machine that invites you, and learn how to log in there.

Without --key-file the key is one of those in ~/.ssh or in the agent.  A private key never leaves
this machine.

USAGE:
    derphole ssh accept [options] [--] [TOKEN]

ARGUMENTS:
    TOKEN               Token or code that `ssh invite` printed (default: the variable
                        DERPHOLE_TOKEN)

OPTIONS:
    -F, --key-file PATH         The .pub file to hand over, or a folder with one
    -y, --yes                   Hand the key over unasked
    --write-config              Add a block for the other machine to ~/.ssh/config
{SOURCE_OPTIONS}\
{CLAIMER_OPTIONS}
EXAMPLES:
    derphole ssh accept TOKEN
    derphole ssh accept -F ~/.ssh/work.pub TOKEN
"""

SUFFIX = ".pub"


def run(arguments: Arguments, output: Output) -> int:
    """Accept."""
    options = network_options(arguments)
    token = pasted_token_or_code(sources.token_text(arguments, output))
    session = check_token_or_code(token, Capability.SSH, wall())
    found = _chosen(arguments, output)
    output.report(KeyShown(found.key, "sending"))
    if not arguments.flag("--yes"):
        ask = asker(output, "whether the key is to be handed over")
        if not ask("hand it over?"):
            raise GivingDeclined

    from derphole.cli.frame.signals import EndingSignals
    from derphole.ssh.accepting import accept

    with EndingSignals():
        login = accept(
            options, session, found.key, key_file=_private_of(found), report=output.report
        )
    if login is not None:
        _tell(login, arguments.spoken, output)
    if login is not None and arguments.flag("--write-config"):
        from derphole.edges.ssh_config import append_block

        path = append_block(str(Path.home()), login.alias, "\n".join(login.block))
        done = (
            f"added to {path}" if path is not None else f"~/.ssh/config has {login.alias} already"
        )
        output.report(Notice(done))
    return 0


def _tell(login: "Login", spoken: str, output: Output) -> None:
    if output.is_json:
        output.report(LoginTold(login, spoken))
        return
    for line in login.lines(spoken):
        output.report(Instruction(line))


def _chosen(arguments: Arguments, output: Output) -> FoundKey:
    """Return the key to hand over; raises `NoKeyFound`, `SeveralKeys`, `KeyRefused`."""
    given = arguments.text("--key-file")
    if given is not None and not Path(given).is_dir():
        return key_in_file(given)
    found = own_keys(arguments.environ) if given is None else keys_in_folder(given)
    if not found:
        raise NoKeyFound(given or "")
    if len(found) == 1:
        return found[0]
    from derphole.cli.frame.person import chosen_number
    from derphole.edges.stdio import typed_line

    lines = [f"{each.place}: {KeyShown(each.key, 'the').sentence}" for each in found]
    if not output.is_on_terminal or output.is_json or arguments.flag("--yes"):
        raise SeveralKeys(", ".join(each.place for each in found))
    number = chosen_number(output, typed_line, "which key?", lines)
    if number is None:
        raise SeveralKeys(", ".join(each.place for each in found))
    return found[number]


def _private_of(found: FoundKey) -> str | None:
    """Return the private key's file, if it lies beside the public one."""
    private = found.place.removesuffix(SUFFIX)
    is_there = private != found.place and Path(private).exists()
    return str(Path(private).absolute()) if is_there else None
