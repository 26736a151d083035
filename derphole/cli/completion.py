"""`completion`: what makes a shell complete commands, options, and the words of codes.

The scripts hold everything they need, so that Tab starts no program.  zsh runs the one of bash.
"""

import re
from collections.abc import Callable, Iterator, Mapping

from derphole.cli.frame.arguments import Arguments
from derphole.cli.frame.options import GLOBAL_OPTIONS
from derphole.cli.frame.output import Output
from derphole.errors import UsageError

USAGE = """\
Print what makes a shell complete commands, options and the words of codes.

USAGE:
    derphole completion [options] [--] SHELL

ARGUMENTS:
    SHELL               bash, zsh or fish

EXAMPLES:
    source <(derphole completion bash)      # in ~/.bashrc; for zsh likewise
    derphole completion fish > ~/.config/fish/completions/derphole.fish
"""

OPTION = re.compile(r"^ {4}(?:(-[A-Za-z]), )?(--[a-z-]+)", re.MULTILINE)
# A code up to the hyphen before the word that is being typed.
CODE_SO_FAR = "[0-9]{1,5}-[0-9]{6}-([a-z]+-){0,5}"

BASH = """\
# Completion of derphole and derptun for bash, made by `derphole completion bash`.
_derphole_words='@WORDS@'
_derphole() {
    local cur=${COMP_WORDS[$COMP_CWORD]} program=${COMP_WORDS[0]##*/} first= second= i=1
    COMPREPLY=()
    while [ $i -lt $COMP_CWORD ]; do
        case ${COMP_WORDS[$i]} in
        -*) ;;
        *) if [ -z "$first" ]; then first=${COMP_WORDS[$i]}
           elif [ -z "$second" ]; then second=${COMP_WORDS[$i]}; fi ;;
        esac
        i=$((i + 1))
    done
    local lower=$(printf %s "$cur" | tr 'A-Z_' 'a-z-')
    case $lower in
    [0-9]*-[0-9][0-9][0-9][0-9][0-9][0-9]-*)
        COMPREPLY=($(compgen -P "${lower%-*}-" -W "$_derphole_words" -- "${lower##*-}"))
        return ;;
    esac
    case $program:$first in
@COMMANDS@
    esac
    case $cur in
    -*)
        case "$program:$first $second" in
@OPTIONS@
        esac ;;
    *) COMPREPLY=($(compgen -f -- "$cur")) ;;
    esac
}
complete -o filenames -o bashdefault -F _derphole derphole derptun
"""
ZSH = """\
# Completion of derphole and derptun for zsh, made by `derphole completion zsh`.
autoload -U +X compinit && compinit -u
autoload -U +X bashcompinit && bashcompinit
"""
FISH = """\
# Completion of derphole and derptun for fish, made by `derphole completion fish`.
set -g __derphole_words @WORDS@
function __derphole_code
    set -l begun (string lower -- (commandline -ct))
    set -l head (string match -r -- '^@CODE@' $begun)[1]
    test -n "$head"; and printf '%s\\n' $head$__derphole_words
end
complete -c derphole -n '__derphole_code >/dev/null' -f -a '(__derphole_code)'
@COMMANDS@
"""


# By program and command.
Options = Mapping[str, Mapping[str, tuple[str, ...]]]
# The same: returns the usage text.
Usages = Mapping[str, Mapping[str, Callable[[], str]]]


class Completion:
    """The command.

    Args:
        usages: of every command of both programs.
    """

    USAGE = USAGE

    def __init__(self, usages: Usages) -> None:
        self._usages = usages

    def run(self, arguments: Arguments, output: Output) -> int:
        """Print the script of a shell."""
        shell = arguments.text("SHELL") or ""
        scripts = {"bash": bash_script, "zsh": zsh_script, "fish": fish_script}
        if shell not in scripts:
            raise UsageError(f'unknown shell "{shell}": use bash, zsh or fish', shows_help=False)
        output.payload_line(scripts[shell](options_by_command(self._usages)).rstrip("\n"))
        return 0


def bash_script(programs: Options) -> str:
    """Return the script of bash."""
    firsts, options = [], []
    for program, commands in programs.items():
        groups: dict[str, list[str]] = {"": ["help"]}
        for name in commands:
            first, _, second = name.partition(" ")
            groups[""].append(first)
            if second:
                groups.setdefault(first, []).append(second)
        for group, members in groups.items():
            words = " ".join(dict.fromkeys(members))
            guard = "" if not group else ' [ -n "$second" ] ||'
            firsts.append(
                f'    {program}:{group}){guard} {{ COMPREPLY=($(compgen -W "{words}" -- "$cur"));'
                " return; } ;;"
            )
        for name, names in commands.items():
            pattern = f'"{name}"' if " " in name else f'"{name} "*'
            shown = f'"{program}:"{pattern}'
            options.append(
                f'        {shown}) COMPREPLY=($(compgen -W "{" ".join(names)}" -- "$cur")) ;;'
            )
    return (
        BASH.replace("@WORDS@", " ".join(_words()))
        .replace("@COMMANDS@", "\n".join(firsts))
        .replace("@OPTIONS@", "\n".join(options))
    )


def zsh_script(programs: Options) -> str:
    """Return the script of zsh."""
    return ZSH + bash_script(programs).partition("\n")[2]


def fish_script(programs: Options) -> str:
    """Return the script of fish."""
    lines = []
    for program, commands in programs.items():
        firsts = dict.fromkeys(name.partition(" ")[0] for name in ("help", *commands))
        lines.append(f"complete -c {program} -n '__fish_use_subcommand' -f -a '{' '.join(firsts)}'")
        for name, names in commands.items():
            first, _, second = name.partition(" ")
            seen = f"__fish_seen_subcommand_from {first}"
            if second:
                lines.append(
                    f"complete -c {program} -n '{seen}; and not __fish_seen_subcommand_from "
                    f"{second}' -f -a {second}"
                )
                seen += f"; and __fish_seen_subcommand_from {second}"
            lines += [
                f"complete -c {program} -n '{seen}' -l {option.removeprefix('--')}"
                for option in names
                if option.startswith("--")
            ]
    return (
        FISH.replace("@WORDS@", " ".join(_words()))
        .replace("@CODE@", CODE_SO_FAR)
        .replace("@COMMANDS@", "\n".join(lines))
    )


def options_by_command(usages: Usages) -> Options:
    """Return the options of every command, by program and name."""
    return {
        program: {
            name: tuple(_options_of(usage() + GLOBAL_OPTIONS)) for name, usage in commands.items()
        }
        for program, commands in usages.items()
    }


def _options_of(usage: str) -> Iterator[str]:
    for short, long in OPTION.findall(usage):
        yield long
        if short:
            yield short


def _words() -> tuple[str, ...]:
    from derphole.token.code_words import WORDS

    return WORDS
