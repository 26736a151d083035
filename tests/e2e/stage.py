"""Two machines on one: folders in which the command lines of a document are typed as they stand.

A scene takes the steps of its blocks one by one, puts real values in for placeholders, and says where
each runs.  At the end every step must have been taken, and whatever a console block shows must have
been printed.
"""

import contextlib
import os
import pty
import re
import shlex
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

from support.documents import Block, Step, is_shell
from support.processes import PROGRAM, Process, await_true, clean_environment
from support.shown_output import difference

CODE = r"\b(\d+-\d{6}(?:-[a-z]+)+)\b"
Values = Mapping[str, "str | int | Path"]
TOKEN = r"\b((?:dhp|dtcli|dtsrv)1_[\w-]{20,})"
STEP_S = 60.0
SHOWN_S = 10.0


class Played:
    """A step that runs or has run.

    Args:
        step: of the document.
        process: the shell, or the program itself where the line is a single command.
        keyboard: what is typed into its terminal; None without one.
    """

    def __init__(self, step: Step, process: Process, keyboard: int | None) -> None:
        self.step = step
        self.process = process
        self.is_broken_off = False
        self._keyboard = keyboard

    def code(self) -> str:
        """Wait for the short code that it prints."""
        return self.process.await_line(CODE, STEP_S)[1]

    def token(self) -> str:
        """Wait for the token that it prints."""
        return self.process.await_line(TOKEN, STEP_S)[1]

    def says(self, pattern: str) -> re.Match[str]:
        """Wait for a line."""
        return self.process.await_line(pattern, STEP_S)

    def types(self, text: str) -> None:
        """Type something into its terminal."""
        assert self._keyboard is not None
        os.write(self._keyboard, text.encode())

    def ends(self, code: int = 0) -> "Played":
        """Wait until it ends by itself, and check how."""
        self.process.ends_with(code, timeout_s=STEP_S)
        return self

    def ctrl_c(self, code: int = 0) -> None:
        """End it as a person does, and check how it ends."""
        self.is_broken_off = True
        os.killpg(self.process.pid, signal.SIGINT)
        self.process.ends_with(code, timeout_s=STEP_S)

    def close(self) -> None:
        """End it if it still runs."""
        self.process.stop()
        if self._keyboard is not None:
            os.close(self._keyboard)
            self._keyboard = None


class Stage:
    """Where the blocks of one scene are played.

    Args:
        folder: an empty one.
        blocks: in the order in which they are played.
        variables: of every process, beside a clean environment.
    """

    def __init__(self, folder: Path, blocks: list[Block], variables: Mapping[str, str]) -> None:
        self.here, self.there = folder / "here", folder / "there"
        self.programs = folder / "programs"  # these go before all others
        for path in (self.here, self.there, self.programs):
            path.mkdir()
        self._steps = [step for block in blocks for step in block.steps]
        self._consoles = [block.kind == "console" for block in blocks for _ in block.steps]
        self._taken = 0
        self.variables = dict(variables)
        self._played: list[tuple[Played, bool]] = []
        self._asides: list[Process] = []

    def environment(self, place: Path) -> dict[str, str]:
        """Return the variables of somebody whose home is one of the two folders."""
        paths = (str(self.programs), str(Path(PROGRAM).parent), os.environ["PATH"])
        own = {"HOME": str(place), "PATH": os.pathsep.join(paths), "TERM": "dumb", "LC_ALL": "C"}
        kept = place / ".kept"
        kept.mkdir(exist_ok=True)
        return {**clean_environment(kept), **own, **self.variables}

    def program(self, name: str, script: str) -> None:
        """Put a program before all others of its name."""
        path = self.programs / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def start(
        self,
        place: Path | None = None,
        values: Values | None = None,
        *,
        typed: bool = False,
        whole: bool = False,
        is_compared: bool = True,
    ) -> Played:
        """Start the next step.

        Args:
            place: the folder it runs in; here unless told.
            values: what stands for words of the line, each of which must be there.
            typed: whether its standard input is a terminal; nothing comes from it otherwise.
            whole: whether all steps that are left are typed into one shell.
            is_compared: whether what a console block shows must have been printed.
        """
        count = len(self._steps) - self._taken if whole else 1
        steps = self._steps[self._taken : self._taken + count]
        is_console = self._consoles[self._taken]
        self._taken += count
        step = Step("\n".join(each.command for each in steps), steps[0].shown)
        line = with_values(step.command, values or {})
        place = place or self.here
        keyboard, stdin = pty.openpty() if typed else (None, None)
        out = "exec 1>&2\n" if is_console else ""
        process = Process(
            step.command,
            ["bash", "-o", "pipefail", "-c", f"{out}{'exec ' if _is_simple(line) else ''}{line}"],
            place,
            self.environment(place),
            stdin=subprocess.DEVNULL if stdin is None else stdin,
            on_terminal=True,
        )
        if stdin is not None:
            os.close(stdin)
        played = Played(step, process, keyboard)
        self._played.append((played, is_console and is_compared))
        return played

    def run(self, place: Path | None = None, values: Values | None = None) -> Played:
        """Run the next step to its good end."""
        return self.start(place, values).ends()

    def aside(self, place: Path, *command: str | Path) -> Process:
        """Start a program that the document does not name, such as the service that is shared."""
        process = Process(str(command[0]), command, place, self.environment(place))
        self._asides.append(process)
        return process

    def close(self) -> None:
        """End what still runs."""
        for played, _ in reversed(self._played):
            played.close()
        for process in self._asides:
            process.stop()

    def check(self) -> None:
        """Check that all was played, and printed what is shown."""
        left = [step.command for step in self._steps[self._taken :]]
        assert not left, f"the scene did not play: {left}"
        for played, is_console in self._played:
            assert "Traceback" not in played.process.stderr, played.process.story
            if is_console and played.step.shown:
                self._check_shown(played)

    def _check_shown(self, played: Played) -> None:
        process = played.process

        def missing_line() -> str | None:
            may_go_on = process.is_running or played.is_broken_off
            return difference(played.step.shown, process.stderr.split("\n"), may_go_on=may_go_on)

        if process.is_running:  # what it printed may come a moment later
            with contextlib.suppress(AssertionError):
                await_true(lambda: missing_line() is None, "it prints what is shown", SHOWN_S)
        missing = missing_line()
        assert missing is None, f"the document shows {missing!r}; {process.story}"


def with_values(line: str, values: Values) -> str:
    """Put real values in for words of a command line."""
    for word, value in values.items():
        line, count = re.subn(
            rf"(?<![\w/.-]){re.escape(word)}(?!\w)", lambda _, v=value: str(v), line
        )
        assert count, f"{word} is not in: {line}"
    return line


def _is_simple(line: str) -> bool:
    """Tell whether a line is a single command, which then takes the shell's place."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|;()<>&\n")
    lexer.whitespace_split = True
    lexer.whitespace = " \t\r"
    words = list(lexer)
    is_plain = not any(re.fullmatch(r"[|;()&\n]+", word) for word in words)
    return is_plain and "=" not in words[0] and words[0] != "cd" and is_shell(f"exec {line}")
