"""What documents name is there: files, headings, options, commands, states, events, verdicts."""

import re
import shlex
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from support.documents import SHELL_KINDS, blocks_of, of_ours, parse_ours

from derphole.cli.catalogue import COMMANDS
from derphole.cli.frame.arguments import GLOBAL_FLAGS, known_options
from derphole.errors import UsageError
from derphole.network.verdict import Verdict
from derphole.status import State

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), ROOT / "tests/interop/README.md"]
)
PAGES = [path for path in DOCUMENTS if path.name != "CHANGELOG.md"]  # that tells of the past, too
OWN_PAGES = [
    path for path in PAGES if "interop" not in path.parts
]  # that has options of Go's tools
FOLDERS = ("derphole", "tunnel", "tests", "scripts", "docs", "build", "findings", ".ci")
# Chosen.
README_WORDS = 950
COLUMNS = 140
# Options of other programs that our documents mention.
FOREIGN_OPTIONS = {"-verify-clients", "-certmode", "-hostname", "-c"}
FOREIGN_MESSAGES = ("Permission denied (publickey)",)  # and what they say

each_page = pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))


def prose(text: str) -> str:
    """Return a document without its code blocks."""
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


def spans(text: str) -> list[str]:
    """Return what stands between backticks in the prose of a document."""
    return re.findall(r"`([^`]+)`", prose(text).replace("\n", " "))


@cache
def tracked() -> tuple[str, ...]:
    """Every file and folder that documents may name, from the root and without what is built."""
    found = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*")]
    found += [path for path in ROOT.iterdir() if path.name not in (".git", ".venv", ".build")]
    return tuple(f"/{path.relative_to(ROOT).as_posix()}" for path in found)


def slug(heading: str) -> str:
    """Return the anchor that GitHub gives a heading."""
    kept = re.sub(r"[^\w\- ]", "", re.sub(r"`|\*", "", heading).strip().lower())
    return kept.replace(" ", "-")


def anchors(path: Path) -> set[str]:
    return {
        slug(found) for found in re.findall(r"^#+ (.+)$", prose(path.read_text()), re.MULTILINE)
    }


# -- links and files ------------------------------------------------------------------------


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_to_a_file_and_a_heading(path: Path) -> None:
    dead = []
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(path.read_text())):
        if re.match(r"https?://", target):
            continue
        name, _, anchor = target.partition("#")
        file = (path.parent / name).resolve() if name else path
        if not file.exists() or (anchor and anchor not in anchors(file)):
            dead.append(target)

    assert not dead


def named_files(text: str) -> Iterator[str]:
    """Yield what looks like a file or folder of ours, with braces written out."""
    for span in spans(text):
        if not re.fullmatch(r"[\w.*{},/\-]+", span):
            continue
        starts_here = span.partition("/")[0] in FOLDERS and "/" in span
        if starts_here or re.search(r"\.(py|md|spec|cfg|toml)$", span):
            yield from written_out(span)


def written_out(name: str) -> Iterator[str]:
    match = re.search(r"\{([^}]*)\}", name)
    if match is None:
        yield name
        return
    for choice in match[1].split(","):
        yield from written_out(name[: match.start()] + choice + name[match.end() :])


def is_there(name: str, document: Path) -> bool:
    """Tell whether a file or folder ends so; `*` stands for letters.

    What lies in tests is named with that folder, or as a test, but by documents that lie there too.
    """
    wanted = re.escape(name.rstrip("/")).replace(r"\*", r"[^/]*")
    is_of_tests = name.startswith(("tests/", "test_")) or "tests" in document.parts
    return any(
        re.search(rf"/{wanted}$", each)
        for each in tracked()
        if is_of_tests or not each.startswith("/tests/")
    )


@each_page
def test_files_that_are_named_are_there(path: Path) -> None:
    missing = [name for name in named_files(path.read_text()) if not is_there(name, path)]

    assert not missing


@each_page
def test_modules_that_are_named_are_there(path: Path) -> None:
    dotted = [
        span
        for span in spans(path.read_text())
        if re.fullmatch(r"(derphole|tunnel)(\.\w+)+", span) and not span.endswith((".spec", ".py"))
    ]
    missing = [
        name
        for name in dotted
        if not any(is_there(name.replace(".", "/") + end, path) for end in (".py", ""))
    ]

    assert not missing


def test_the_design_has_every_section_that_the_code_names() -> None:
    headings = re.findall(r"^## (\d+)\. ", (ROOT / "docs/design.md").read_text(), re.MULTILINE)
    named = set()
    for folder in ("derphole", "tunnel", "tests"):
        for path in (ROOT / folder).rglob("*.py"):
            for found in re.findall(r"\b[Dd]esign, sections? ([\d, and]+)", path.read_text()):
                named |= set(re.findall(r"\d+", found))

    assert headings == [str(number) for number in range(1, len(headings) + 1)]
    assert named
    assert named <= set(headings)


# -- commands and options -------------------------------------------------------------------


def command_lines(path: Path) -> Iterator[list[str]]:
    """Yield the words of every command line of ours, in code blocks and in prose."""
    for block in blocks_of(path, path.parent):
        if block.kind in SHELL_KINDS:
            for step in block.steps:
                yield from of_ours(step.command)
    for span in spans(path.read_text()):
        if re.match(r"(derphole|derptun) \S", span):
            yield from of_ours(span)


@each_page
def test_commands_that_are_named_can_be_typed(path: Path) -> None:
    for words in command_lines(path):
        try:
            parse_ours(words)
        except UsageError as error:
            pytest.fail(f"{shlex.join(words)}: {error.sentence}")


def test_the_reader_of_commands_finds_them_and_their_faults(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    path.write_text(
        "```sh\ntar -c x | pv | derphole pipe --tokenfile F TOKEN < in # a note\n```\n"
        "`derphole help nothing at all`"
    )
    pipe, help_line = command_lines(path)

    assert pipe == ["derphole", "pipe", "--tokenfile", "F", "TOKEN"]
    for words in (pipe, help_line, ["derphole", "lisen"], ["derphole", "share", "1", "2"]):
        with pytest.raises(UsageError):
            parse_ours(words)


@cache
def known_flags() -> set[str]:
    """Every option of our programs, and those that our scripts explain."""
    flags = set(FOREIGN_OPTIONS) | set(GLOBAL_FLAGS)
    for program in COMMANDS.values():
        for command in program.commands.values():
            if command.takes_options:
                flags |= set(known_options(command.load().USAGE))
    for script in (ROOT / "scripts").iterdir():
        if script.is_file():
            flags |= set(re.findall(r"(?<![\w-])--?[a-z][\w-]*", script.read_text()))
    return flags


@pytest.mark.parametrize("path", OWN_PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_options_that_are_named_exist(path: Path) -> None:
    flags = [
        word.partition("=")[0]
        for span in spans(path.read_text())
        if span.startswith("-")
        for word in re.split(r"[ /]", span)
        if re.fullmatch(r"--?[a-zA-Z][\w-]*(=.*)?", word)
    ]

    assert not sorted(set(flags) - known_flags())


@each_page
def test_variables_that_are_named_exist(path: Path) -> None:
    sources = [
        file
        for name in ("derphole", "tests", "scripts", ".ci")
        for file in (ROOT / name).rglob("*")
    ]
    code = "\n".join(
        file.read_text(errors="replace")
        for file in sources
        if file.is_file() and file.suffix in (".py", ".sh", "") and file != Path(__file__)
    )
    named = set(re.findall(r"\bDERP(?:HOLE|TUN)_[A-Z_]+\b", path.read_text()))

    assert not sorted(name for name in named if not re.search(rf"\b{name}\b", code))


# -- tables ---------------------------------------------------------------------------------


def first_cells(path: str, head: str) -> list[str]:
    """Return the words in backticks in the first column of a table."""
    table = (ROOT / path).read_text().partition(f"\n{head}\n")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| (`.*?) \|", table, re.MULTILINE)
    return [word for row in rows for word in re.findall(r"`([^`]+)`", row)]


def test_every_state_has_its_row() -> None:
    assert sorted(first_cells("docs/output.md", "| state | on | meaning |")) == sorted(State)


def test_every_verdict_has_its_row() -> None:
    assert sorted(first_cells("docs/netcheck.md", "| verdict | meaning |")) == sorted(Verdict)


def test_every_event_has_its_row() -> None:
    shapes = (
        r'^            return "([a-z-]+)", [{_]',  # derphole.status.as_event
        r'^    event = "([a-z-]+)"$',  # a status that knows its event
        r'_event\("([a-z-]+)", ',  # derphole.cli.frame.output
        r'^            "event": "([a-z-]+)",$',  # an event that is put together by hand
    )
    code = "\n".join(file.read_text() for file in (ROOT / "derphole").rglob("*.py"))
    events = {name for shape in shapes for name in re.findall(shape, code, re.MULTILINE)}

    assert len(events) > 10
    assert set(first_cells("docs/output.md", "| event | keys | meaning |")) == events


# -- messages -------------------------------------------------------------------------------


@cache
def said() -> str:
    """Every string of the product on one line, with nothing where something is filled in."""
    code = "\n".join(
        path.read_text() for name in ("derphole", "tunnel") for path in (ROOT / name).rglob("*.py")
    )
    joined = re.sub(r"[\"']\s*\n\s*f?[\"']", "", code)
    return re.sub(r"\{[^{}]*\}", "", joined)


def test_messages_that_troubleshooting_names_are_said() -> None:
    """Between what is filled in: numbers, names in capitals, and what `...` stands for."""
    table = re.findall(
        r"^\| ([^|]*) \|", (ROOT / "docs/troubleshooting.md").read_text(), re.MULTILINE
    )
    messages = [span for cell in table for span in re.findall(r"`([^`]+)`", cell)]
    parts = [
        part.strip(" :")
        for message in messages
        if not message.startswith(("derphole ", "derptun ", "-", *FOREIGN_MESSAGES))
        for part in re.split(r"\.\.\.|\b[\d-]*\d\b(?: s\b)?|\b\w+\.jpg\b", message)
    ]
    missing = [part for part in parts if len(part) > 3 and part not in said()]

    assert len(messages) > 20
    assert missing == []


# -- form -----------------------------------------------------------------------------------


def test_the_readme_is_short() -> None:
    words = len((ROOT / "README.md").read_text().split())

    assert words <= README_WORDS


@each_page
def test_lines_are_no_wider_than_a_screen(path: Path) -> None:
    """Tables cannot be wrapped, nor can what a program prints."""
    lines = prose(path.read_text()).splitlines()

    assert not [line for line in lines if len(line) > COLUMNS and not line.startswith("|")]


@pytest.mark.parametrize("name", ["events.py", "folder.sh", "ssh.sh"])
def test_an_example_without_arguments_tells_how_it_is_called(name: str) -> None:
    done = subprocess.run(
        [ROOT / "docs/examples" / name],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=15,
        check=False,
    )

    assert (done.returncode, done.stdout) == (2, "")
    assert re.match(rf"[Uu]sage: .*\b{name} [A-Z]", done.stderr)
