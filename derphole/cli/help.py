"""The help texts: of a program, of a command, and of everything as one document."""

import re
from collections.abc import Iterator

from derphole.cli.catalogue import COMMANDS, Program
from derphole.cli.frame.options import GLOBAL_OPTIONS

COMMAND_COLUMN = 14
HELP_COLUMNS = 80
# An entry of a list in a help text: what is explained, two blanks at least, the explanation.
ENTRY = re.compile(r"( {4}\S.*? {2,})(\S.*)")
# What stands in these sections can be typed, and is left as it is.
VERBATIM = ("USAGE:", "EXAMPLES:")
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
    return fitted("\n".join(lines))


def group_help(program: Program, spoken: str, group: str) -> str:
    """Return the help of commands whose names begin with the same word."""
    members = {
        name.partition(" ")[2]: command.summary
        for name, command in program.commands.items()
        if name.startswith(f"{group} ")
    }
    lines = [
        f"{program.name} {group} - commands of two words",
        "",
        "USAGE:",
        f"    {spoken} {group} COMMAND [options]",
        "",
        "COMMANDS:",
        *(f"    {name:<{COMMAND_COLUMN}}{text}" for name, text in sorted(members.items())),
        "",
        "GLOBAL OPTIONS:",
        GLOBAL_OPTIONS,
        f"Run '{spoken} {group} COMMAND --help' for more information on a specific command.",
    ]
    return fitted("\n".join(lines))


def command_help(program: Program, spoken: str, name: str) -> str:
    """Return the help of one command: its usage text with the global options."""
    if name in program.groups:
        return group_help(program, spoken, name)
    usage = HELP_USAGE if name == "help" else program.commands[name].load().USAGE
    before, heading, examples = usage.rstrip("\n").partition("\nEXAMPLES:")
    text = f"{before.rstrip()}\n\nGLOBAL OPTIONS:\n{GLOBAL_OPTIONS}{heading}{examples}"
    return fitted(_as_spoken(text.rstrip("\n"), program, spoken))


def fitted(text: str, columns: int = HELP_COLUMNS) -> str:
    """Return a help text with its paragraphs and explanations wrapped."""
    blocks, section = [], ""
    for block in text.split("\n\n"):
        lines = block.split("\n")
        if lines[0].isupper():
            section = lines[0]
        is_verbatim = section in VERBATIM and lines[-1].startswith(" ")
        blocks.append(block if is_verbatim else "\n".join(_wrapped(lines, columns)))
    return "\n\n".join(blocks)


def _wrapped(lines: list[str], columns: int) -> Iterator[str]:
    """Yield the lines of a heading with its entries, or of a paragraph, no wider than `columns`."""
    from textwrap import wrap

    whole: list[str] = []  # entries and paragraphs, each with its further lines
    for line in lines:
        is_new = not whole or ENTRY.fullmatch(line) or whole[-1].endswith(":")
        if is_new and not line.startswith(" " * 5):
            whole.append(line)
        else:
            whole[-1] += " " + line.strip()
    for each in whole:
        entry = ENTRY.fullmatch(each)
        head, explanation = (entry[1], entry[2]) if entry else ("", each)
        yield from wrap(
            explanation,
            columns,
            initial_indent=head,
            subsequent_indent=" " * len(head),
            break_long_words=False,
            break_on_hyphens=False,
        )


def usage_line(program: Program, spoken: str, name: str | None) -> str:
    """Return the line of the help that shows how to call a command, or a whole program."""
    text = root_help(program, spoken) if name is None else command_help(program, spoken, name)
    return text.partition("\nUSAGE:\n")[2].partition("\n")[0].strip()


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
        "  `DERPHOLE_RELAY` and `DERPHOLE_DERP_MAP` are defaults of `--relay` and `--derp-map`;",
        "  `DERPHOLE_DERP_SERVER` counts where `DERPHOLE_RELAY` is unset.",
    ]
    return "\n".join(parts)


def _as_spoken(text: str, program: Program, spoken: str) -> str:
    """Write the commands in a text as people must type them here; both programs share some."""
    names = "|".join((*program.commands, "help"))
    return re.sub(rf"\b(?:derphole|derptun) (?=(?:{names})\b)", lambda _: f"{spoken} ", text)
