"""Command lines: global flags anywhere, exact long options, then docopt with the usage text.

docopt itself takes abbreviations and words errors in its own way.  So every word is checked here
against the options of the usage text first; docopt then gets a command line in one canonical
order: command, options, `--`, words.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from derphole.cli.frame.near_words import meant
from derphole.errors import UsageError
from tunnel.units import GIB, KIB, MIB
from tunnel.values import frozen

TRUE_WORDS = ("true", "1", "yes")
FALSE_WORDS = ("false", "0", "no")
# Flags of the Go tool that have another name here.
ELSEWHERE = {
    "--direct-tcp-port": (
        "--direct-tcp-port is a flag of the Go tool; direct paths use UDP here: forward a UDP port "
        "to this machine and name it with --udp-port N"
    )
}
SIZE = re.compile(r"([0-9]{1,15})([kKmMgG]?)")
NEGATIVE = re.compile(r"-[0-9]+(\.[0-9]+)?[A-Za-z]?")
UNITS: Mapping[str, int] = {"": 1, "k": KIB, "m": MIB, "g": GIB}


@frozen
class Option:
    """An option as a usage text describes it.

    Args:
        name: its long form with dashes, or the short one when it has no other.
        takes_value: whether a value follows.
    """

    name: str
    takes_value: bool = False


GLOBAL_FLAGS: Mapping[str, Option] = {
    "-v": Option("--verbose"),
    "-q": Option("--quiet"),
    "-s": Option("--silent"),
    "-h": Option("--help"),
    "-V": Option("--version"),
    **{
        name: Option(name)
        for name in (
            "--verbose",
            "--quiet",
            "--silent",
            "--json",
            "--help",
            "--help-llm",
            "--version",
        )
    },
}


@frozen
class Arguments:
    """What a command was given.

    Args:
        values: what docopt made of the command line, by option and argument name.
        environ: the environment of the process.
        program: "derphole" or "derptun".
        stdin_fd: descriptor of standard input.
        spoken: what people type to start the program, such as "npx -y derphole".
        repeated: every value of each option, in the order of the command line.
    """

    values: Mapping[str, "str | bool | list[str] | None"]
    environ: Mapping[str, str] = field(repr=False)
    program: str = "derphole"
    stdin_fd: int = 0
    spoken: str = "derphole"
    repeated: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def flag(self, name: str) -> bool:
        """Return whether a flag is set."""
        return bool(self.values.get(name))

    def text(self, name: str) -> str | None:
        """Return the value of an option or argument, None when it was not given."""
        value = self.values.get(name)
        return value if isinstance(value, str) else None

    def words(self, name: str) -> list[str]:
        """Return the values of an argument that may be given any number of times."""
        value = self.values.get(name)
        return value if isinstance(value, list) else []


@dataclass(slots=True)
class Scan:
    """A command line taken apart.

    Args:
        options: value by option name; True for flags.
        repeated: every value by option name.
        words: everything that is not an option.
        rest: what was not looked at because the scan stopped.
    """

    options: dict[str, str | bool] = field(default_factory=dict)
    repeated: dict[str, list[str]] = field(default_factory=dict)
    words: list[str] = field(default_factory=list)
    rest: list[str] = field(default_factory=list)


def scan(line: Sequence[str], known: Mapping[str, Option], *, stop_at_word: bool = False) -> Scan:
    """Take a command line apart; the last repeat of an option wins.

    Args:
        line: the words of the command line.
        known: option by each of its spellings.
        stop_at_word: leave everything after the first word that is not an option in `rest`.

    Raises `UsageError` for unknown options and for values that are missing or not wanted.
    """
    result = Scan()
    waiting = list(reversed(line))
    while waiting:
        word = waiting.pop()
        if word == "--":
            result.words += reversed(waiting)
            if stop_at_word and result.words:
                result.rest = ["--", *result.words[1:]]
                del result.words[1:]
            return result
        if word.startswith("--"):
            _scan_long(word, known, waiting, result)
        elif word.startswith("-") and word != "-":
            _scan_short(word, known, waiting, result)
        else:
            result.words.append(word)
            if stop_at_word:
                result.rest = list(reversed(waiting))
                return result
    return result


def _scan_long(word: str, known: Mapping[str, Option], waiting: list[str], result: Scan) -> None:
    name, equals, value = word.partition("=")
    option = known.get(name)
    if option is None:
        elsewhere = ELSEWHERE.get(name)
        raise UsageError(elsewhere or f"unknown flag: {name}{meant(name, known)}")
    if option.takes_value:
        given = value if equals else _next_value(name, waiting)
        _take_value(result, option, _not_negative(name, given))
    elif not equals or value.lower() in TRUE_WORDS:
        result.options[option.name] = True
    elif value.lower() in FALSE_WORDS:
        result.options.pop(option.name, None)
    else:
        raise UsageError(f'invalid bool value "{value}": {name} takes true or false')


def _scan_short(word: str, known: Mapping[str, Option], waiting: list[str], result: Scan) -> None:
    """Take apart -v, -vq, -P8, -P=8 and -P 8."""
    position = 1
    while position < len(word):
        name = f"-{word[position]}"
        position += 1
        option = known.get(name)
        if option is None:
            raise UsageError(f"unknown flag: {word}{meant(word, known)}")
        if option.takes_value:
            glued = word[position:].removeprefix("=")
            given = glued if position < len(word) else _next_value(name, waiting)
            _take_value(result, option, _not_negative(name, given))
            return
        result.options[option.name] = True


def _take_value(result: Scan, option: Option, value: str) -> None:
    result.options[option.name] = value
    result.repeated.setdefault(option.name, []).append(value)


def _next_value(name: str, waiting: list[str]) -> str:
    if not waiting:
        raise UsageError(f"{name} requires a value")
    is_flag = waiting[-1].startswith("-") and waiting[-1] != "-"
    if is_flag and not NEGATIVE.fullmatch(waiting[-1]):
        raise UsageError(f"{name} requires a value")
    return waiting.pop()


def _not_negative(name: str, value: str) -> str:
    """Return a value; raises `UsageError` for a negative number, which no option takes."""
    if NEGATIVE.fullmatch(value):
        raise UsageError(f'invalid {name} value "{value}": it is negative')
    return value


def known_options(usage: str) -> dict[str, Option]:
    """Return the options of a usage text and the global ones, by every spelling."""
    known = dict(GLOBAL_FLAGS)
    from derphole.cli.vendored import docopt

    for described in docopt.parse_defaults(usage):
        option = Option(described.long or described.short, bool(described.argcount))
        known |= {name: option for name in (described.long, described.short) if name}
    return known


def fit(usage: str, command: str, taken: Scan) -> dict[str, str | bool | list[str] | None]:
    """Let docopt fit a scanned command line into the usage text.

    Raises `UsageError` when it does not fit.
    """
    from derphole.cli.vendored import docopt

    global_names = {option.name for option in GLOBAL_FLAGS.values()}
    canonical = command.split()
    for name, value in taken.options.items():
        if name in global_names:
            continue
        if value is True:
            canonical.append(name)
        else:
            canonical += [f"{name}={value}"] if name.startswith("--") else [name, str(value)]
    if taken.words:
        canonical += ["--", *taken.words]
    try:
        fitted = docopt.docopt(usage, argv=canonical, help=False)
    except docopt.DocoptExit as error:
        raise UsageError(f"'{command}': these arguments cannot be combined") from error
    return {name: value for name, value in fitted.items() if name != "--"}


def check_count(command: str, words: Sequence[str], least: int, most: int | None) -> None:
    """Raise `UsageError` unless the number of words lies within the bounds."""
    if least <= len(words) and (most is None or len(words) <= most):
        return
    wanted = f"{least}" if most == least else f"{least}-{most}"
    raise UsageError(f"'{command}' requires {wanted} argument(s), got {len(words)}")


def parse_size(text: str) -> int | None:
    """Read a number with K, M or G for powers of 1024; None for any other text."""
    match = SIZE.fullmatch(text)
    return int(match[1]) * UNITS[match[2].lower()] if match else None


def is_debug(environ: Mapping[str, str]) -> bool:
    """Return whether DERPHOLE_DEBUG asks for tracebacks and the watchdog."""
    return environ.get("DERPHOLE_DEBUG", "") not in ("", "0")
