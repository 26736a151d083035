"""Both programs: which command, which level, what is said when it fails, which exit code.

The only place that catches both error trees, and, at the very end, everything else: no traceback
ever reaches a person who did not ask for one with DERPHOLE_DEBUG=1.
"""

import os
import re
import signal
import sys
import traceback
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path

from derphole.cli.catalogue import COMMANDS, Program
from derphole.cli.frame.arguments import (
    GLOBAL_FLAGS,
    Arguments,
    Scan,
    check_count,
    fit,
    is_debug,
    known_options,
    scan,
)
from derphole.cli.frame.near_words import meant
from derphole.cli.frame.output import Output
from derphole.cli.help import command_help, markdown_reference, root_help, usage_line
from derphole.errors import (
    DerpholeError,
    InternalError,
    Interrupted,
    ThreadsRefused,
    UsageError,
)
from derphole.status import Level
from tunnel.errors import MisuseError, TunnelError
from tunnel.net.clock import wall

LEVEL_FLAGS = {
    "--verbose": Level.VERBOSE,
    "--quiet": Level.QUIET,
    "--silent": Level.QUIET,
}

# What to do about an error that no command has a sentence for.
TUNNEL_NEXT_STEP = "run the command again, and with --trace FILE for a report if that fails too"

TOKEN = re.compile(r"\b(dhp1_|dtsrv1_|dtcli1_)[A-Za-z0-9_-]{20,}")
CODE = re.compile(r"\b([0-9]{1,5}-[0-9]{6}-)[a-z]+(?:-[a-z]+)+", re.IGNORECASE)


class Invocation:
    """One run of one command line.

    Args:
        argv: program name and arguments.
        environ: the environment of the process.
    """

    def __init__(self, argv: Sequence[str], environ: Mapping[str, str]) -> None:
        self._program, self._spoken, self._line = choose_program(argv, environ)
        self._environ = environ
        self._is_debug = is_debug(environ)
        self._command: str | None = None
        self._trace: str | None = None
        flags = self._line[: self._line.index("--")] if "--" in self._line else self._line
        self._output = Output(sys.stdout, sys.stderr, wall, is_json="--json" in flags)

    def run(self) -> int:
        """Run the command and return its exit code; nothing but that comes out."""
        try:
            return self._guarded()
        finally:
            self._output.close()

    def _guarded(self) -> int:
        try:
            return self._dispatch()
        except UsageError as error:
            self._output.error(error)
            if error.shows_help:
                self._output.usage_after_error(*self._usage())
            return error.exit_code
        except (DerpholeError, Interrupted) as error:
            self._output.error(error)
            return error.exit_code
        except KeyboardInterrupt:
            interrupted = Interrupted(signal.SIGINT, "SIGINT")
            self._output.error(interrupted)
            return interrupted.exit_code
        except MisuseError as error:
            return self._bug(error)
        except TunnelError as error:
            self._output.failure(error_code(type(error)), tunnel_sentence(error), 1)
            return 1
        except Exception as error:  # noqa: BLE001 - the last resort: a sentence, not a traceback
            if is_thread_refusal(error):
                refused = ThreadsRefused()
                self._output.error(refused)
                return refused.exit_code
            return self._bug(error)

    def _dispatch(self) -> int:
        leading = scan(self._line, GLOBAL_FLAGS, stop_at_word=True)
        if not leading.words:
            return self._root(leading)
        name = self._program.aliases.get(leading.words[0], leading.words[0])
        if name == "help":
            return self._help_command(leading)
        self._check_known(name)
        self._command = name
        if name in self._program.groups:
            return self._run_member(name, leading)
        return self._run_command(name, leading)

    def _run_member(self, group: str, leading: Scan) -> int:
        """Run a command whose name has two words, of which this is the first."""
        inner = scan(leading.rest, GLOBAL_FLAGS, stop_at_word=True)
        inner.options = leading.options | inner.options
        words = inner.words
        if words == ["help"]:
            inner = scan(inner.rest, GLOBAL_FLAGS)
            inner.options |= leading.options
            words, inner.options["--help"] = inner.words, True
            check_count("help", words, 0, 1)
        if not words:
            self._output.level = chosen_level(inner)
            if not self._has_answered(inner):
                self._output.payload_line(self._help())
            return 0
        self._command = self._member(group, words[0])
        return self._run_command(self._command, inner)

    def _member(self, group: str, word: str) -> str:
        """Return the whole name of a command; raises `UsageError` for one that is none."""
        name = f"{group} {word}"
        if name in self._program.commands:
            return name
        known = sorted(
            each.partition(" ")[2]
            for each in self._program.commands
            if each.startswith(f"{group} ")
        )
        hint = f"Run '{self._spoken} {group} --help' for usage"
        raise UsageError(
            f"unknown {group} command: {word}{meant(word, known)}", hint=hint, shows_help=False
        )

    def _run_command(self, name: str, leading: Scan) -> int:
        command = self._program.commands[name]
        module = command.load()
        usage = module.USAGE + command.unlisted
        taken = self._scan_rest(leading, usage if command.takes_options else None)
        if self._has_answered(taken):
            return 0
        if "[TOKEN]" in usage or "[CODE]" in usage:
            from derphole.cli.frame.sources import unlabelled

            taken.words = unlabelled(taken.words)
        check_count(name, taken.words, command.least, command.most)
        if not command.takes_options:
            return module.run(Arguments({}, self._environ, self._program.name), self._output)
        from derphole.cli.frame.logs import debug_lines, stall_lines

        values = fit(usage, name, taken)
        arguments = Arguments(
            values,
            self._environ,
            self._program.name,
            spoken=self._spoken,
            repeated=taken.repeated,
        )
        self._trace = arguments.text("--trace")
        watchdog = stall_lines(self._output) if self._is_debug else nullcontext()
        with debug_lines(self._output, shows_tracebacks=self._is_debug), watchdog:
            return module.run(arguments, self._output)

    def _scan_rest(self, leading: Scan, usage: str | None) -> Scan:
        """Scan what follows the command's name and set the level."""
        taken = scan(leading.rest, GLOBAL_FLAGS if usage is None else known_options(usage))
        taken.options = leading.options | taken.options
        self._output.level = chosen_level(taken)
        return taken

    def _root(self, leading: Scan) -> int:
        self._output.level = chosen_level(leading)
        if not self._has_answered(leading):
            self._output.payload_line(self._help())
        return 0

    def _help_command(self, leading: Scan) -> int:
        taken = self._scan_rest(leading, None)
        if "--help-llm" in taken.options:
            self._output.payload_line(markdown_reference(self._program))
            return 0
        if taken.words:
            taken.words[0] = self._program.aliases.get(taken.words[0], taken.words[0])
            self._check_known(taken.words[0])
        is_member = bool(taken.words) and taken.words[0] in self._program.groups
        check_count("help", taken.words, 0, 2 if is_member else 1)
        if taken.words:
            self._command = taken.words[0]
            if len(taken.words) > 1:
                self._command = self._member(*taken.words)
        elif "--help" in taken.options:
            self._command = "help"
        self._output.payload_line(self._help())
        return 0

    def _has_answered(self, taken: Scan) -> bool:
        """Print the help or the version that a flag asked for; tell whether one did."""
        if "--help-llm" in taken.options:
            self._output.payload_line(markdown_reference(self._program))
        elif "--version" in taken.options:
            arguments = Arguments({}, self._environ, self._program.name)
            self._program.commands["version"].load().run(arguments, self._output)
        elif "--help" in taken.options:
            self._output.payload_line(self._help())
        else:
            return False
        return True

    def _help(self) -> str:
        if self._command is None:
            return root_help(self._program, self._spoken)
        return command_help(self._program, self._spoken, self._command)

    def _usage(self) -> tuple[str, str]:
        """Return how the command is called, and where its help is."""
        usage = usage_line(self._program, self._spoken, self._command)
        words = self._spoken if self._command is None else f"{self._spoken} {self._command}"
        return f"usage: {usage}", f"Run '{words} --help' for help"

    def _check_known(self, name: str) -> None:
        """Raise `UsageError` for the name of no command."""
        whole = {name for name in self._program.commands if " " not in name}
        known = {*whole, *self._program.groups, "help"}
        if name in known:
            return
        hint = f"Run '{self._spoken} --help' for usage"
        # The second word alone is known too: `invite` is `ssh invite`.
        members = {each.partition(" ")[2]: each for each in self._program.commands if " " in each}
        likely = f"; did you mean {members[name]}?" if name in members else ""
        other = next(each for each in COMMANDS.values() if each is not self._program)
        if name in {*other.commands, *other.groups}:
            likely = f"; it is a command of {other.name}"
        raise UsageError(
            f"unknown command: {name}{likely or meant(name, sorted(known))}",
            hint=hint,
            shows_help=False,
        )

    def _bug(self, error: Exception) -> int:
        """Say that this is a bug; the traceback goes only where it was asked for."""
        told = InternalError(type(error).__name__, location(error))
        trace = without_tokens("".join(traceback.format_exception(error)))
        if self._trace:
            append_crash(Path(self._trace), trace)
        self._output.error(told, trace if self._is_debug else None)
        return told.exit_code


def choose_program(
    argv: Sequence[str], environ: Mapping[str, str]
) -> tuple[Program, str, list[str]]:
    """Return the program, what people type to start it, and its arguments."""
    name = os.path.basename(argv[0]) if argv else "derphole"
    line = list(argv[1:])
    spoken = program = "derptun" if name.startswith("derptun") else "derphole"
    if program == "derphole" and (line[:1] == ["derptun"] or line[:2] == ["help", "derptun"]):
        program, spoken = "derptun", "derphole derptun"
        line.remove("derptun")
    if npm_spec := environ.get("DERPHOLE_NPM"):
        through_other = " derptun" if spoken == "derphole derptun" else ""
        spoken = f"npx -y {npm_spec}{through_other}"
    return COMMANDS[program], spoken, line


def chosen_level(taken: Scan) -> Level:
    """Return the level that the flags ask for; raises `UsageError` for more than one."""
    given = [name for name in LEVEL_FLAGS if name in taken.options]
    if len(given) > 1:
        raise UsageError("only one of --verbose, --quiet, or --silent may be set", shows_help=False)
    return LEVEL_FLAGS[given[0]] if given else Level.NORMAL


def error_code(kind: type[TunnelError]) -> str:
    """Return the stable word of a tunnel error: its class name with dashes."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "-", kind.__name__).lower()


def general_sentence(kind: type[TunnelError]) -> str:
    """Return what a tunnel error says of itself: the first line of its class."""
    general = (kind.__doc__ or "The tunnel failed.").partition("\n")[0].rstrip(".")
    return general[:1].lower() + general[1:]


def tunnel_sentence(error: TunnelError) -> str:
    """Return what a person is told: what the class says, the error's own words, the next step."""
    particular = f": {error}" if str(error) else ""
    return f"{general_sentence(type(error))}{particular}; {TUNNEL_NEXT_STEP}"


def is_thread_refusal(error: Exception) -> bool:
    """Tell whether the system refused a thread, which Python says in words alone."""
    return isinstance(error, RuntimeError) and "start new thread" in str(error)


def location(error: Exception) -> str:
    """Return where an exception came from, as `module.py:line`."""
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return "nowhere"
    return f"{Path(frames[-1].filename).name}:{frames[-1].lineno}"


def without_tokens(text: str) -> str:
    """Return `text` with every token in it cut: an exception may quote what it was called with."""
    return CODE.sub(r"\1<cut>", TOKEN.sub(r"\1<cut>", text))


def append_crash(path: Path, trace: str) -> None:
    """Append a traceback to the trace file; a file that cannot be written is not a second error."""
    import json

    line = json.dumps({"event": "crash", "time": round(wall(), 3), "traceback": trace})
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(descriptor, "a", encoding="utf-8") as file:
            file.write(line + "\n")
    except OSError:
        return
