"""The help texts: of a program, of a command, and of everything as one document."""

import re

from derphole.cli.catalogue import COMMANDS, Program
from derphole.cli.frame.options import GLOBAL_OPTIONS

COMMAND_COLUMN = 12
HELP_USAGE = """\
Print the help of a command.

USAGE:
    derphole help [COMMAND]

ARGUMENTS:
    COMMAND             Name of a command
"""


def root_help(program: Program, spoken: str) -> str:
    """Return the help of a whole program; `spoken` is what people type to start it."""
    summaries = {name: command.summary for name, command in program.commands.items()}
    summaries["help"] = "Print the help of a command"
    if program.name == "derphole":
        summaries["derptun"] = "Run the other program, derptun"
    lines = [
        f"{program.name} - {program.description}",
        "",
        "USAGE:",
        f"    {spoken} COMMAND [options]",
        "",
        "COMMANDS:",
        *(f"    {name:<{COMMAND_COLUMN}}{text}" for name, text in sorted(summaries.items())),
        "",
        "GLOBAL OPTIONS:",
        GLOBAL_OPTIONS,
        "EXAMPLES:",
        *(f"    {_as_spoken(example, program, spoken)}" for example in program.examples),
        "",
        f"Run '{spoken} COMMAND --help' for more information on a specific command.",
    ]
    return "\n".join(lines)


def command_help(program: Program, spoken: str, name: str) -> str:
    """Return the help of one command: its usage text with the global options."""
    usage = HELP_USAGE if name == "help" else program.commands[name].load().USAGE
    before, heading, examples = usage.rstrip("\n").partition("\nEXAMPLES:")
    text = f"{before.rstrip()}\n\nGLOBAL OPTIONS:\n{GLOBAL_OPTIONS}{heading}{examples}"
    return _as_spoken(text.rstrip("\n"), program, spoken)


def usage_line(program: Program, spoken: str, name: str | None) -> str:
    """Return the line of the help that shows how to call a command, or a whole program."""
    text = root_help(program, spoken) if name is None else command_help(program, spoken, name)
    return text.partition("\nUSAGE:\n")[2].partition("\n")[0].strip()


def not_yet(program: Program, spoken: str, name: str) -> str:
    """Return what is said of a command that people know and this version does not have."""
    until = _as_spoken(program.planned[name], program, spoken)
    return f"`{spoken} {name}` is not in this version yet; {until}"


def markdown_reference(first: Program) -> str:
    """Return the help of every command of both programs as one Markdown document.

    Args:
        first: the program that was called, whose commands come first.
    """
    parts = []
    for program in sorted(COMMANDS.values(), key=lambda each: each is not first):
        parts += [f"# {program.name}", f"{program.description.capitalize()}.", ""]
        for name in sorted(program.commands):
            text = command_help(program, program.name, name)
            parts += [f"## {program.name} {name}", "", "```text", text, "```", ""]
    parts += [
        "## Exit codes and streams",
        "",
        "- 0 done, 1 failed, 2 wrong usage or an unreadable token source, 128+n ended by signal n.",
        "- Standard output carries only payload; everything else goes to standard error.",
        '- With `--json` each line of standard error is an event: `{"event": ..., "time": ...}`;',
        "  errors have `code`, `message` and `exit_code`.",
        "- `DERPHOLE_TOKEN` and `DERPTUN_TOKEN` give the token when no other source does;",
        "  `DERPHOLE_RELAY` and `DERPHOLE_DERP_MAP` are defaults of `--relay` and `--derp-map`.",
    ]
    return "\n".join(parts)


def _as_spoken(text: str, program: Program, spoken: str) -> str:
    """Write the commands in a text as people must type them here; both programs share some."""
    names = "|".join((*program.commands, "help"))
    return re.sub(rf"\b(?:derphole|derptun) (?=(?:{names})\b)", lambda _: f"{spoken} ", text)
