"""What documents tell people to type: their command blocks, and the command lines in them."""

import re
import shlex
import subprocess
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from derphole.cli.catalogue import COMMANDS
from derphole.cli.frame.arguments import GLOBAL_FLAGS, check_count, fit, known_options, scan
from derphole.errors import UsageError

ROOT = Path(__file__).resolve().parents[2]
SHELL_KINDS = ("sh", "bash", "console")  # of blocks that somebody types
OTHER_KINDS = ("text", "python", "json", "ini", "toml")  # of blocks that nobody types
PROMPT = "$ "


@dataclass(frozen=True)
class Step:
    """A command line of a block.

    Args:
        command: as it is typed, also over several lines.
        shown: what the document says that it prints; nothing in a block without prompts.
    """

    command: str
    shown: tuple[str, ...] = ()


@dataclass(frozen=True)
class Block:
    """A fenced block of a document.

    Args:
        document: its path from the root.
        heading: of the section that it stands in, without `#`.
        number: of the block within that section, from 1.
        kind: what stands behind the fence; may be empty.
        text: what is between the fences.
    """

    document: str
    heading: str
    number: int
    kind: str
    text: str = field(repr=False)

    @property
    def name(self) -> str:
        """What scenes call it."""
        return f"{self.document} / {self.heading} / {self.number}"

    @property
    def steps(self) -> list[Step]:
        return _typed_at_prompts(self.text) if self.kind == "console" else _typed(self.text)


def documents() -> list[Path]:
    """Return every document that people read, but for the change log."""
    found = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
    return sorted(path for path in found if path.name != "CHANGELOG.md")


def blocks_of(path: Path, root: Path = ROOT) -> list[Block]:
    """Return all fenced blocks of a document, whatever their kind."""
    found: list[Block] = []
    heading, fence, kind = "", "", ""
    is_indented = False
    counts: dict[str, int] = {}
    text: list[str] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        opening = re.match(r"\s*(`{3,}|~{3,})\s*(\S*)", line)
        if fence:
            if opening and opening[1].startswith(fence) and not opening[2]:
                counts[heading] = counts.get(heading, 0) + 1
                name = path.relative_to(root).as_posix()
                body = textwrap.dedent("\n".join(text)) if is_indented else "\n".join(text)
                found.append(Block(name, heading, counts[heading], kind, body))
                fence = ""
            else:
                text.append(line)
        elif opening:
            fence, kind, text = opening[1], opening[2], []
            is_indented = line != line.lstrip()
        elif title := re.match(r"#+ (.+)$", line):
            heading = title[1]
    assert not fence, f"{path}: a block is not closed"
    return found


def _typed_at_prompts(text: str) -> list[Step]:
    """Cut a session into what is typed behind prompts, and what is shown for each."""
    steps: list[Step] = []
    for line in text.splitlines():
        if line.startswith(PROMPT):
            steps.append(Step(line.removeprefix(PROMPT)))
        else:
            assert steps, f"a console block begins without a prompt: {line}"
            steps[-1] = Step(steps[-1].command, (*steps[-1].shown, line))
    return steps


def _typed(text: str) -> list[Step]:
    """Cut a script into its command lines, each as long as the shell wants it."""
    steps: list[Step] = []
    waiting = ""
    for line in text.splitlines():
        if not waiting and (not line.strip() or line.startswith("#")):
            continue
        waiting += f"{line}\n"
        if not line.endswith("\\") and is_shell(waiting):
            steps.append(Step(waiting.rstrip("\n")))
            waiting = ""
    assert not waiting, f"the shell does not take: {waiting}"
    return steps


def is_shell(text: str) -> bool:
    """Tell whether a shell can read it; a placeholder such as <this repository> is one word."""
    text = re.sub(r"<[a-z][a-z ]*>", "PLACEHOLDER", text)
    done = subprocess.run(["bash", "-n", "-c", text], capture_output=True, timeout=15, check=False)
    return done.returncode == 0


# -- command lines of ours --------------------------------------------------------------------


def of_ours(line: str) -> Iterator[list[str]]:
    """Yield the commands of a shell line that run one of our programs, without redirections."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|;()<>&\n")
    lexer.whitespace_split = True
    lexer.whitespace = " \t\r"
    command: list[str] = []
    for word in [*lexer, ";"]:
        if re.fullmatch(r"[|;()<>&\n]+", word):
            if command[:1] in (["derphole"], ["derptun"]) and command[1:]:
                yield command
            command = ["(file)"] if word in ("<", ">", ">>") else []
        elif command or word not in ("sudo", "if", "then", "while", "until", "do", "!", "time"):
            command.append(word)


def parse_ours(words: list[str]) -> None:
    """Parse a command line as the program does; raises `UsageError`."""
    program = COMMANDS[words[0]]
    leading = scan(words[1:], GLOBAL_FLAGS, stop_at_word=True)
    if not leading.words:
        return
    [name] = leading.words
    if name == "COMMAND":
        return
    if name == "help":
        check_count(name, leading.rest, 0, 2 if leading.rest[:1] == ["ssh"] else 1)
        return
    if name in program.groups:
        leading = scan(leading.rest, GLOBAL_FLAGS, stop_at_word=True)
        if not leading.words:
            return
        name = f"{name} {leading.words[0]}"
    if name not in program.commands:
        raise UsageError(f"unknown command: {name}")
    command = program.commands[name]
    usage = command.load().USAGE
    taken = scan(leading.rest, known_options(usage) if command.takes_options else GLOBAL_FLAGS)
    if taken.words:  # `derphole open` alone names the command
        check_count(name, taken.words, command.least, command.most)
        fit(usage, name, taken)
