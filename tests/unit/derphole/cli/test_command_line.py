"""The command line as a table: exit code, both streams, and the wording, run in this process."""

import io
import json
import os
import re
import subprocess
import sys

import pytest

from derphole import __version__
from derphole.cli.catalogue import COMMANDS
from derphole.cli.frame.arguments import GLOBAL_FLAGS, Option, known_options, scan
from derphole.cli.frame.near_words import meant
from derphole.cli.invocation import TUNNEL_NEXT_STEP, Invocation, error_code, tunnel_sentence
from derphole.cli.main import main
from derphole.errors import UsageError
from derphole.token.grant import Capability, Grant, Mint
from derphole.token.hints import RegionHints
from derphole.token.text import ServerToken, client_token, session_token, token_text
from tunnel.errors import AuthenticationFailed, PeerError, RelayUnreachable

ISSUER = Mint.from_seed(bytes(32))
FAR = 4_000_000_000


def minted(capability, expires_at=FAR):
    grant = Grant(bytes(8), expires_at, capability)
    return token_text(session_token(ISSUER, grant, RegionHints((1,))))


GOOD = minted(Capability.LISTEN)
EXPIRED = minted(Capability.LISTEN, 1)
SHARED = minted(Capability.SHARE, 1)
LATER = minted(Capability.LISTEN, FAR + 1)
CLIENT = token_text(
    client_token(ISSUER, Grant(bytes(8), FAR, Capability.TUNNEL), RegionHints((1,)))
)
SERVER = token_text(ServerToken(bytes(32), FAR, RegionHints((1,))))


@pytest.fixture
def run(capsys):
    """Return a function that runs a command line and returns (exit code, stdout, stderr)."""

    def run_line(*line, program="derphole", environ=None):
        exit_code = Invocation([program, *line], environ or {}).run()
        printed = capsys.readouterr()
        return exit_code, printed.out, printed.err

    return run_line


# --- help and version: payload on standard output -------------------------------------------


@pytest.mark.parametrize("line", [["version"], ["version", "extra", "words"], ["-v", "version"]])
@pytest.mark.parametrize("program", ["derphole", "/usr/bin/derptun", "derptun-1.0-linux"])
def test_version_is_one_line_on_standard_output(run, program, line):
    assert run(*line, program=program) == (0, f"v{__version__}\n", "")


@pytest.mark.parametrize(
    "line", [["--version"], ["-V"], ["listen", "--version"], ["pipe", "a", "b", "c", "-V"]]
)
def test_the_version_can_be_asked_for_with_a_flag(run, line):
    assert run(*line) == (0, f"v{__version__}\n", "")


@pytest.mark.parametrize("line", [["version", "--json"], ["--json", "--version"]])
@pytest.mark.parametrize("program", ["derphole", "derptun"])
def test_the_version_in_json_is_one_object_on_standard_output(run, program, line):
    exit_code, out, err = run(*line, program=program)

    assert (exit_code, err) == (0, "")
    assert json.loads(out) == {"program": program, "version": f"v{__version__}"}


def test_main_takes_the_program_s_name_and_its_arguments(capsys):
    assert main(["derphole", "version"]) == 0
    assert capsys.readouterr().out == f"v{__version__}\n"


@pytest.mark.parametrize("line", [[], ["help"], ["--help"], ["-h"], ["-v"], ["-q"], ["--json"]])
def test_help_that_was_asked_for_is_on_standard_output(run, line):
    exit_code, out, err = run(*line)

    assert (exit_code, err) == (0, "")
    assert out.startswith("derphole - ")
    assert "\nUSAGE:\n    derphole COMMAND [options]\n" in out
    assert "\nCOMMANDS:\n    completion    " in out
    assert "\nGLOBAL OPTIONS:\n    -v, --verbose  " in out
    assert "\nEXAMPLES:\n" in out
    assert out.endswith(
        "Run 'derphole COMMAND --help' for more information on a specific command.\n"
    )


def test_the_list_of_commands_is_sorted_in_12_columns(run):
    listed = re.search(r"COMMANDS:\n(.*?)\n\n", run()[1], re.DOTALL).group(1).splitlines()
    names = [line[4:16].strip() for line in listed]

    assert names == sorted(names)
    assert "help" in names
    assert all(line.startswith(f"    {name:<12}") for line, name in zip(listed, names, strict=True))


@pytest.mark.parametrize("name", [*COMMANDS["derphole"].commands, "help"])
def test_each_command_prints_its_help(run, name):
    words = name.split()
    exit_code, out, err = run("help", *words)

    assert (exit_code, err) == (0, "")
    assert f"\nUSAGE:\n    derphole {name}" in out
    assert out == run(*words, "--help")[1]
    assert out == run("-h", *words)[1]


def test_a_word_that_begins_several_commands_lists_them(run):
    exit_code, out, err = run("ssh")

    assert (exit_code, err) == (0, "")
    assert re.search(r"COMMANDS:\n    accept .*\n    invite .*\n", out)
    for same in (("ssh", "--help"), ("help", "ssh"), ("ssh", "help"), ("-h", "ssh")):
        assert run(*same) == (0, out, "")
    assert run("ssh", "--version") == run("version")


def test_an_unknown_command_of_two_words_is_told_with_what_was_meant(run):
    for line in (("ssh", "invit"), ("help", "ssh", "invit")):
        exit_code, out, err = run(*line)
        assert (exit_code, out) == (2, "")
        assert err.startswith("unknown ssh command: invit; did you mean invite?\n")
        assert "derphole ssh --help" in err
    assert run("help", "ssh", "invite", "more")[0] == 2
    assert run("ssh", "help", "accept") == run("help", "ssh", "accept")
    assert run("ssh", "help", "acept")[0] == 2
    assert run("ssh", "help", "accept", "more")[0] == 2
    assert "did you mean ssh invite?" in run("invite")[2]


@pytest.mark.parametrize("program", COMMANDS)
def test_every_option_is_explained_behind_28_columns(run, program):
    for name in COMMANDS[program].commands:
        options = run("help", *name.split(), program=program)[1].partition("OPTIONS:\n")[2]
        for line in options.partition("\nEXAMPLES:")[0].splitlines():
            if line.startswith("    -"):
                assert re.fullmatch(r"    -.{25}  [A-Z].*", line), line


@pytest.mark.parametrize("program", COMMANDS)
def test_help_fits_80_columns(run, program):
    for name in (None, "help", *COMMANDS[program].commands):
        out = run("help", *(name.split() if name else []), program=program)[1]
        assert [line for line in out.splitlines() if len(line) > 80] == []


def test_commands_of_both_programs_are_written_for_the_one_that_was_called(run):
    by_name = run("help", "netcheck", program="derptun")[1]
    by_word = run("derptun", "help", "netcheck")[1]

    assert "\nUSAGE:\n    derptun netcheck [options]" in by_name
    assert "\nUSAGE:\n    derphole derptun netcheck [options]" in by_word
    assert "derphole netcheck" not in by_name + by_word


def test_help_wins_over_missing_arguments_and_says_nothing_else(run):
    assert run("pipe", "a", "b", "c", "--help")[0] == 0


def test_the_reference_for_language_models_is_markdown(run):
    exit_code, out, err = run("--help-llm")

    assert (exit_code, err) == (0, "")
    assert out.startswith("# derphole\n")
    for command in ("## derphole listen", "## derphole pipe", "## derptun version"):
        assert f"\n{command}\n" in out
    assert out == run("pipe", "--help-llm")[1] == run("help", "--help-llm")[1]


@pytest.mark.parametrize(
    "line", [["--help-llm"], ["help", "--help-llm"], ["netcheck", "--help-llm"]]
)
def test_the_reference_begins_with_the_program_that_was_called(run, line):
    by_name = run(*line, program="derptun")[1]

    assert by_name.startswith("# derptun\n")
    assert "\n# derphole\n" in by_name
    assert run("derptun", *line)[1] == by_name


def test_help_knows_the_other_program(run):
    assert run("help", "derptun") == run("derptun", "help")
    assert run("help", "derptun", "netcheck") == run("derptun", "help", "netcheck")


def test_derptun_is_chosen_by_name_or_by_word(run):
    by_name = run(program="derptun")[1]
    by_word = run("derptun")[1]

    assert by_name.startswith("derptun - ")
    assert "\n    derptun COMMAND" in by_name
    assert "Run 'derphole derptun COMMAND --help'" in by_word


def test_printed_commands_start_the_way_the_npm_shim_does(run):
    out = run("help", "pipe", environ={"DERPHOLE_NPM": "derphole@latest"})[1]

    assert "\n    npx -y derphole@latest pipe [options] [--] [TOKEN] [FILE]\n" in out
    assert "tar -cpf - folder | npx -y derphole@latest pipe --token-file token.txt\n" in out
    assert not re.search(r"^ +derphole ", out, re.MULTILINE)


# --- usage errors: exit 2 --------------------------------------------------------------------

WITH_USAGE = [
    (["--bogus"], "unknown flag: --bogus", None),
    (["-x"], "unknown flag: -x", None),
    (
        ["pipe", "--direct-tcp-port", "4000"],
        "--direct-tcp-port is a flag of the Go tool; direct paths use UDP here: forward a UDP port "
        "to this machine and name it with --udp-port N",
        "pipe",
    ),
    (["--force-relay", "listen"], "unknown flag: --force-relay", None),
    (["listen", "--forc"], "unknown flag: --forc; did you mean --force-relay?", "listen"),
    (["listen", "--verb"], "unknown flag: --verb; did you mean --verbose?", "listen"),
    (["listen", "--realy", "x"], "unknown flag: --realy; did you mean --relay?", "listen"),
    (["listen", "--realy=x"], "unknown flag: --realy; did you mean --relay?", "listen"),
    (["listen", "--tokn"], "unknown flag: --tokn", "listen"),
    (["listen", "-help"], "unknown flag: -help; did you mean --help?", "listen"),
    (["pipe", "--tokn", "x"], "unknown flag: --tokn; did you mean --token?", "pipe"),
    (["relay", "--LISTEN", ":1"], "unknown flag: --LISTEN; did you mean --listen?", "relay"),
    (["--verion"], "unknown flag: --verion; did you mean --version?", None),
    (["listen", "--bogus=1"], "unknown flag: --bogus", "listen"),
    (["listen", "-verbose"], "unknown flag: -verbose; did you mean --verbose?", "listen"),
    (["listen", "--expires"], "--expires requires a value", "listen"),
    (["listen", "--expires", "--verbose"], "--expires requires a value", "listen"),
    (["listen", "extra"], "'listen' requires 0 argument(s), got 1", "listen"),
    (["listen", "--", "-x"], "'listen' requires 0 argument(s), got 1", "listen"),
    (["listen", "--force-relay=x"], 'invalid bool value "x"', "listen"),
    (["listen", "--expires", "soon"], 'invalid --expires value "soon"; use RFC3339', "listen"),
    (["listen", "--timeout", "x"], 'invalid --timeout value "x"', "listen"),
    (["listen", "--timeout", "-1"], 'invalid --timeout value "-1": it is negative', "listen"),
    (["listen", "--timeout=-2.5"], 'invalid --timeout value "-2.5": it is negative', "listen"),
    (["listen", "--expires", "-8h"], 'invalid --expires value "-8h": it is negative', "listen"),
    (["pipe", "a", "-P", "-2"], 'invalid -P value "-2": it is negative', "pipe"),
    (["pipe", "a", "-P-2"], 'invalid -P value "-2": it is negative', "pipe"),
    (["share", "80", "--max-clients", "-1"], 'invalid --max-clients value "-1": it', "share"),
    (["relay", "--rate", "-2M"], 'invalid --rate value "-2M": it is negative', "relay"),
    (["netcheck", "extra"], "'netcheck' requires 0 argument(s), got 1", "netcheck"),
    (["netcheck", "--timeout", "x"], 'invalid --timeout value "x"', "netcheck"),
    (["pipe", "a", "b", "c"], "'pipe' requires 0-2 argument(s), got 3", "pipe"),
    (["pipe"], "exactly one of TOKEN, --token, --token-file, or --token-stdin", "pipe"),
    (["pipe", "dhp1_a", "--token", "b"], "at most one of TOKEN, --token,", "pipe"),
    (["pipe", "a", "-P", "17"], "parallel must be 1-16 or auto", "pipe"),
    (["pipe", "a", "-P17"], "parallel must be 1-16 or auto", "pipe"),
    (["pipe", "a", "-P=17"], "parallel must be 1-16 or auto", "pipe"),
    (["pipe", "a", "--parallel=no"], "parallel must be 1-16 or auto", "pipe"),
    (["pipe", "a", "-P"], "-P requires a value", "pipe"),
    (["share"], "'share' requires 1 argument(s), got 0", "share"),
    (["share", "1", "2"], "'share' requires 1 argument(s), got 2", "share"),
    (["share", "host"], 'invalid target "host"; use HOST:PORT, PORT', "share"),
    (["share", "http://x:1"], 'invalid target "http://x:1": remove http://', "share"),
    (["share", "80", "--max-clients", "0"], 'invalid --max-clients value "0"; use 1 to', "share"),
    (["share", "80", "--max-clients", "x"], 'invalid --max-clients value "x"', "share"),
    (["share", "80", "--max-connections=9999"], "invalid --max-connections value", "share"),
    (["share", "80", "--expires", "soon"], 'invalid --expires value "soon"', "share"),
    (["open", "a", "b", "c"], "'open' requires 0-2 argument(s), got 3", "open"),
    (["open"], "exactly one of TOKEN, --token, --token-file, or --token-stdin", "open"),
    (["open", "8080"], "exactly one of TOKEN, --token, --token-file, or", "open"),
    (["open", "a", "nowhere"], 'invalid address to listen on "nowhere"', "open"),
    (["open", "a", "--token", "b"], "at most one of TOKEN, --token,", "open"),
    (["open", "a", "1", "--token", "b"], "at most one of TOKEN, --token,", "open"),
    (["help", "pipe", "b"], "'help' requires 0-1 argument(s), got 2", None),
    (["version", "--bogus"], "unknown flag: --bogus", "version"),
]


USAGE_LINES = {
    None: "usage: derphole COMMAND [options]",
    "listen": "usage: derphole listen [options]",
    "pipe": "usage: derphole pipe [options] [--] [TOKEN] [FILE]",
    "share": "usage: derphole share [options] [--] TARGET",
    "open": "usage: derphole open [options] [--] [TOKEN] [BIND]",
    "relay": "usage: derphole relay [options]",
    "netcheck": "usage: derphole netcheck [options]",
    "version": "usage: derphole version",
}


@pytest.mark.parametrize(("line", "sentence", "command"), WITH_USAGE)
def test_a_usage_error_is_a_sentence_the_usage_line_and_where_help_is(run, line, sentence, command):
    exit_code, out, err = run(*line)
    first, *more = err.splitlines()
    named = f"derphole {command}" if command else "derphole"

    assert (exit_code, out) == (2, "")
    assert first.startswith(sentence)
    assert ("did you mean" in first) == ("did you mean" in sentence)
    assert more == [USAGE_LINES[command], f"Run '{named} --help' for help"]


def test_the_usage_line_is_written_for_the_program_that_was_called(run):
    by_name = run("netcheck", "x", program="derptun")[2].splitlines()
    by_npm = run("share", environ={"DERPHOLE_NPM": "derphole@latest"})[2].splitlines()

    assert by_name[1:] == [
        "usage: derptun netcheck [options]",
        "Run 'derptun netcheck --help' for help",
    ]
    assert by_npm[1:] == [
        "usage: npx -y derphole@latest share [options] [--] TARGET",
        "Run 'npx -y derphole@latest share --help' for help",
    ]


@pytest.mark.parametrize("name", ["frob", "-", "x", "transfer", ""])
def test_an_unknown_command_points_at_the_help(run, name):
    expected = f"unknown command: {name}\nRun 'derphole --help' for usage\n"

    assert run(name) == (2, "", expected)
    assert run("help", name) == (2, "", expected)


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("listn", "listen"),
        ("listne", "listen"),
        ("Listen", "listen"),
        ("pip", "pipe"),
        ("opne", "open"),
        ("net", "netcheck"),
        ("relay-x", "relay"),
    ],
)
def test_the_command_that_was_meant_is_suggested(run, name, near):
    expected = f"unknown command: {name}; did you mean {near}?\nRun 'derphole --help' for usage\n"

    assert run(name) == (2, "", expected)
    assert run("help", name) == (2, "", expected)


def test_no_two_words_of_a_command_are_mistaken_for_each_other():
    for program in COMMANDS.values():
        for name, command in program.commands.items():
            flags = known_options(command.load().USAGE) if command.takes_options else GLOBAL_FLAGS
            assert [meant(each, flags) for each in flags if len(each) > 4] == [
                f"; did you mean {each}?" for each in flags if len(each) > 4
            ], name


def test_another_name_of_a_command_is_that_command(run):
    for program in COMMANDS.values():
        for other, name in program.aliases.items():
            assert other not in program.commands
            assert run("help", other, program=program.name) == run(
                "help", name, program=program.name
            )
            assert run(other, "--help", program=program.name) == run(
                name, "--help", program=program.name
            )


def test_an_unknown_command_of_derptun_points_at_its_help(run):
    assert run("frob", program="derptun")[2].endswith("Run 'derptun --help' for usage\n")
    assert run("derptun", "frob")[2].endswith("Run 'derphole derptun --help' for usage\n")


@pytest.mark.parametrize(
    "line",
    [
        ["-v", "-q", "listen"],
        ["-q", "-s", "listen"],
        ["-q", "listen", "--silent"],
        ["-vq"],
        ["listen", "-vs"],
        ["version", "--verbose", "--quiet"],
    ],
)
def test_two_levels_are_refused_without_help(run, line):
    sentence = "only one of --verbose, --quiet, or --silent may be set\n"

    assert run(*line) == (2, "", sentence)


def test_the_same_level_twice_is_fine(run):
    assert run("-q", "version", "--quiet", "-q")[0] == 0
    assert run("-q", "--verbose=false", "version")[0] == 0


def test_a_usage_error_in_json_is_one_event_without_help(run):
    exit_code, out, err = run("pipe", "--json", "--forc")
    event = json.loads(err)

    assert (exit_code, out) == (2, "")
    assert event["event"] == "error"
    assert event["code"] == "usage"
    assert event["message"] == "unknown flag: --forc; did you mean --force-relay?"
    assert event["exit_code"] == 2


def test_json_behind_the_separator_is_a_word(run):
    assert not run("listen", "--", "--json")[2].startswith("{")


# --- refusals before the network: exit 1 -----------------------------------------------------

REFUSED = [
    (["pipe", GOOD[:-3]], "token-cut", "the token is cut short"),
    (["pipe", GOOD[:30] + "AAAA" + GOOD[34:]], "token-damaged", "the token is damaged"),
    (["pipe", "nonsense"], "not-a-token", "this is not a token (it does not begin with dhp1_"),
    (["pipe", "TOKEN"], "not-a-token", "this is not a token (TOKEN stands for the text that"),
    (["open", "http://x:1"], "not-a-token", "this is not a token (it is a URL); use the token"),
    (["pipe", f"{GOOD} {LATER}"], "several-tokens", "there are 2 tokens in what was given"),
    (["pipe", "dts1_abc"], "token-foreign", "this token was made by the Go version"),
    (["pipe", minted(Capability.LISTEN, 1)], "token-expired", "the token expired at 1970"),
    (
        ["pipe", minted(Capability.SHARE)],
        "token-wrong-capability",
        "this token was printed by `derp",
    ),
    (["pipe", CLIENT], "token-wrong-role", "this is a client token"),
    (["pipe", "--token", SERVER], "token-wrong-role", "this is a server token"),
    (
        ["listen", "--expires", "30d"],
        "expiry-refused",
        "expiry must be within 7 days; use --expires 7d, the longest life of a token",
    ),
    (["listen", "--expires=2020-01-01"], "expiry-refused", "expiry must be in the future"),
    (["listen", "--expires", "0s"], "expiry-refused", "expiry must be in the future"),
]


@pytest.mark.parametrize(("line", "code", "sentence"), REFUSED)
def test_a_refusal_is_one_sentence_and_one_code(run, line, code, sentence):
    exit_code, out, err = run(*line)

    assert (exit_code, out) == (1, "")
    assert err.startswith(sentence)
    assert err.count("\n") == 1

    exit_code, out, err = run("--json", *line)
    event = json.loads(err)
    assert (exit_code, out, event["code"]) == (1, "", code)
    assert event["message"].startswith(sentence)


@pytest.mark.parametrize(
    "line",
    [
        ["pipe", "token:", EXPIRED],
        ["pipe", f"token: {EXPIRED}"],
        ["pipe", "derphole", "pipe", EXPIRED],
        ["pipe", "--token", f"derphole pipe {EXPIRED} < file"],
        ["pipe", "--", f"<{EXPIRED}>"],
        ["open", f"token: {SHARED}"],
        ["open", "derphole", "open", SHARED, "8080"],
        ["open", "8080", SHARED],
        ["open", "127.0.0.1:8080", SHARED],
    ],
)
def test_the_token_is_found_in_what_was_pasted(run, line):
    exit_code, out, err = run(*line)

    assert (exit_code, out) == (1, "")
    assert err.startswith("the token expired at 1970")


def test_the_token_is_found_in_the_environment_and_in_a_file(run, tmp_path):
    path = tmp_path / "token.txt"
    path.write_text(f"On the other machine, run:\n  derphole pipe {EXPIRED[:70]}\n{EXPIRED[70:]}\n")
    path.chmod(0o600)

    for environ, line in (
        ({"DERPHOLE_TOKEN": f"'{EXPIRED}'"}, []),
        ({}, ["--token-file", str(path)]),
    ):
        assert run("pipe", *line, environ=environ)[2].startswith("the token expired at 1970")


def test_a_refused_token_is_not_repeated_in_the_message(run):
    assert minted(Capability.SHARE)[10:60] not in run("pipe", minted(Capability.SHARE))[2]


@pytest.mark.parametrize("path", ["/nonexistent", "/"])
def test_an_unreadable_token_file_is_exit_2_without_help(run, path):
    exit_code, out, err = run("pipe", "--token-file", path)

    assert (exit_code, out) == (2, "")
    assert err.startswith("read --token-file: ")
    assert err.count("\n") == 1


def test_the_environment_gives_the_token(run):
    exit_code, _, err = run("pipe", environ={"DERPHOLE_TOKEN": "dts1_x"})

    assert exit_code == 1
    assert err.startswith("this token was made by the Go version")


def test_the_last_repeat_of_an_option_wins(run):
    assert run("pipe", "x", "-P99", "-P", "8")[2].startswith("this is not a token")


def test_a_word_behind_the_separator_may_look_like_an_option(run):
    assert run("pipe", "--", "--verbose")[2].startswith("this is not a token")
    assert run("--", "pipe", "--verbose")[2].startswith("this is not a token")


def test_control_characters_of_the_command_line_are_escaped(run):
    assert run("\x1b[2J\n")[2].startswith("unknown command: \\x1b[2J\\n\n")


# --- the scanner -----------------------------------------------------------------------------

KNOWN = {"-v": Option("--verbose"), "--verbose": Option("--verbose")} | {
    name: Option("--parallel", takes_value=True) for name in ("-P", "--parallel")
}


@pytest.mark.parametrize(
    ("line", "options", "words"),
    [
        (["-P", "8"], {"--parallel": "8"}, []),
        (["-P8"], {"--parallel": "8"}, []),
        (["-P=8"], {"--parallel": "8"}, []),
        (["-vP8", "x"], {"--parallel": "8", "--verbose": True}, ["x"]),
        (["--parallel=8", "-P", "9"], {"--parallel": "9"}, []),
        (["--parallel="], {"--parallel": ""}, []),
        (["-P", "-"], {"--parallel": "-"}, []),
        (["x", "-v", "y"], {"--verbose": True}, ["x", "y"]),
        (["-v", "--verbose=FALSE"], {}, []),
        (["-", "--", "-v", "--"], {}, ["-", "-v", "--"]),
    ],
)
def test_a_line_is_taken_apart(line, options, words):
    taken = scan(line, KNOWN)

    assert (taken.options, taken.words) == (options, words)


@pytest.mark.parametrize("line", [["-P"], ["-P", "-v"], ["-P", "--"], ["--parallel", "-x"]])
def test_a_missing_value_is_refused(line):
    with pytest.raises(UsageError, match="requires a value"):
        scan(line, KNOWN)


# --- failures that nobody foresaw ------------------------------------------------------------


class FailingStream:
    """A standard output that fails in a way no error class covers."""

    def fileno(self):
        raise io.UnsupportedOperation

    def write(self, text):
        raise RuntimeError("a secret detail")

    def flush(self):
        raise RuntimeError


def test_an_unexpected_exception_is_a_sentence_and_no_traceback(capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdout", FailingStream())
    exit_code = Invocation(["derphole", "version"], {}).run()
    err = capsys.readouterr().err

    assert exit_code == 1
    assert err.startswith("unexpected RuntimeError (test_command_line.py:")
    assert "report" in err
    assert err.count("\n") == 1
    assert "secret detail" not in err


def test_a_developer_gets_the_traceback(capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdout", FailingStream())
    exit_code = Invocation(["derphole", "version"], {"DERPHOLE_DEBUG": "1"}).run()

    assert exit_code == 1
    assert "Traceback (most recent call last):" in capsys.readouterr().err


def test_tunnel_errors_are_told_by_their_class_and_their_words():
    step = f"; {TUNNEL_NEXT_STEP}"

    assert tunnel_sentence(RelayUnreachable("fra")) == f"a relay could not be reached: fra{step}"
    assert tunnel_sentence(AuthenticationFailed()) == f"a seal or proof did not verify{step}"
    assert error_code(AuthenticationFailed) == "authentication-failed"
    assert error_code(PeerError) == "peer-error"


# --- start-up --------------------------------------------------------------------------------


def test_version_imports_neither_gevent_nor_docopt_nor_nacl():
    program = (
        "import sys; from derphole.cli.main import main; code = main(['derphole', 'version']);"
        "late = {'gevent', 'derphole.cli.vendored.docopt', 'nacl', 'logging'} & set(sys.modules);"
        "print(sorted(late)); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, f"v{__version__}\n[]\n", "")


def test_nothing_that_is_compiled_at_the_first_start_warns(tmp_path):
    """Installers that compile nothing leave it to the first start; Python 3.12 warned of docopt."""
    done = subprocess.run(
        [sys.executable, "-W", "always", "-m", "derphole", "pipe", "TOKEN"],
        env={**os.environ, "PYTHONPYCACHEPREFIX": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

    assert done.returncode == 1
    assert "Warning" not in done.stderr


@pytest.mark.parametrize("optimise", [[], ["-OO"]])
def test_the_module_runs_as_a_program_also_without_docstrings(optimise):
    done = subprocess.run(
        [sys.executable, *optimise, "-m", "derphole", "listen", "--forc"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("unknown flag: --forc; did you mean --force-relay?\nusage: ")
