"""Token sources: exactly one, readable, and standard input keeps what follows the first line."""

import io
import os

import pytest

from derphole.cli.frame.arguments import Arguments
from derphole.cli.frame.output import Output
from derphole.cli.frame.sources import MAX_TOKEN_FILE_SIZE, token_text, unlabelled
from derphole.errors import UsageError


def find(values, environ=None, program="derphole", stdin_fd=0, argument="TOKEN"):
    """Return the token and what was printed."""
    stream = io.StringIO()
    output = Output(None, stream, lambda: 0.0)
    text = token_text(Arguments(values, environ or {}, program, stdin_fd), output, argument)
    output.close()
    return text, stream.getvalue()


@pytest.fixture
def pipe():
    read_end, write_end = os.pipe()
    yield read_end, write_end
    for descriptor in (read_end, write_end):
        try:
            os.close(descriptor)
        except OSError:
            continue


@pytest.mark.parametrize("name", ["TOKEN", "--token"])
def test_an_argument_is_trimmed(name):
    assert find({name: "  dhp1_x \n"}) == ("dhp1_x", "")


def test_a_token_file_is_trimmed(tmp_path):
    path = tmp_path / "token"
    path.write_text("\n dhp1_x\n\n")
    path.chmod(0o600)

    assert find({"--token-file": str(path)}) == ("dhp1_x", "")


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660])
def test_a_token_file_that_others_can_use_is_warned_about(tmp_path, mode):
    path = tmp_path / "token"
    path.write_text("dhp1_x")
    path.chmod(mode)

    text, printed = find({"--token-file": str(path)})

    assert text == "dhp1_x"
    assert printed.startswith("warning: other users can use the token file")
    assert f"(mode {mode:04o})" in printed


def test_a_token_pipe_has_no_mode_to_warn_about(pipe):
    read_end, write_end = pipe
    os.write(write_end, b"dhp1_x\n")
    os.close(write_end)

    assert find({"--token-file": f"/dev/fd/{read_end}"}) == ("dhp1_x", "")


@pytest.mark.parametrize("content", [b"", b" \n\t"])
def test_an_empty_token_file_is_a_usage_error_without_help(tmp_path, content):
    path = tmp_path / "token"
    path.write_bytes(content)

    with pytest.raises(UsageError, match="--token-file is empty") as caught:
        find({"--token-file": str(path)})
    assert not caught.value.shows_help


def test_a_huge_token_file_is_refused(tmp_path):
    path = tmp_path / "token"
    path.write_bytes(b"A" * (MAX_TOKEN_FILE_SIZE + 1))

    with pytest.raises(UsageError, match="too large"):
        find({"--token-file": str(path)})


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/nonexistent/token", "No such file or directory"),
        ("/", "Is a directory"),
        ("zero\0byte", "null byte"),
    ],
)
def test_an_unreadable_token_file_is_a_usage_error(path, reason):
    with pytest.raises(UsageError, match=f"read --token-file: .*{reason}"):
        find({"--token-file": path})


def test_standard_input_keeps_what_follows_the_first_line(pipe):
    read_end, write_end = pipe
    os.write(write_end, b" dhp1_x\r\npayload\nmore")

    text, _ = find({"--token-stdin": True}, stdin_fd=read_end)

    assert text == "dhp1_x"
    assert os.read(read_end, 100) == b"payload\nmore"


def test_a_non_blocking_standard_input_is_waited_for(pipe):
    read_end, write_end = pipe
    os.set_blocking(read_end, False)
    os.write(write_end, b"dhp1_")
    os.write(write_end, b"x")
    os.close(write_end)

    assert find({"--token-stdin": True}, stdin_fd=read_end)[0] == "dhp1_x"


def test_an_empty_first_line_is_refused(pipe):
    read_end, write_end = pipe
    os.write(write_end, b"\ndhp1_x\n")

    with pytest.raises(UsageError, match="--token-stdin is empty"):
        find({"--token-stdin": True}, stdin_fd=read_end)
    assert os.read(read_end, 100) == b"dhp1_x\n"


def test_an_endless_first_line_is_refused(pipe):
    read_end, write_end = pipe
    os.write(write_end, b"A" * 5000)

    with pytest.raises(UsageError, match="the first line is not a token"):
        find({"--token-stdin": True}, stdin_fd=read_end)


def test_a_closed_standard_input_is_told(pipe):
    read_end, _ = pipe
    os.close(read_end)

    with pytest.raises(UsageError, match="read --token-stdin: Bad file descriptor"):
        find({"--token-stdin": True}, stdin_fd=read_end)


@pytest.mark.parametrize(
    ("program", "name"), [("derphole", "DERPHOLE_TOKEN"), ("derptun", "DERPTUN_TOKEN")]
)
def test_the_environment_counts_when_nothing_else_does(program, name):
    environ = {name: " from-environment "}

    assert find({}, environ, program)[0] == "from-environment"
    assert find({"TOKEN": "given"}, environ, program)[0] == "given"


def test_the_other_program_s_variable_does_not_count():
    with pytest.raises(UsageError):
        find({}, {"DERPTUN_TOKEN": "x"})


def test_no_source_is_a_usage_error_with_help():
    sentence = "exactly one of TOKEN, --token, --token-file, or --token-stdin is required"

    with pytest.raises(UsageError, match=sentence) as caught:
        find({"TOKEN": None, "--token-stdin": False}, {"DERPHOLE_TOKEN": " "})
    assert caught.value.shows_help


def test_without_an_argument_the_sentence_names_the_options():
    with pytest.raises(UsageError, match="exactly one of --token, --token-file, or --token-stdin"):
        find({}, argument=None)


@pytest.mark.parametrize(
    "values",
    [
        {"TOKEN": "a", "--token": "b"},
        {"--token": "a", "--token-stdin": True},
        {"TOKEN": "a", "--token-file": "b"},
        {"TOKEN": "", "--token": ""},
    ],
)
def test_two_sources_are_a_usage_error(values):
    with pytest.raises(UsageError, match="at most one of TOKEN, --token, --token-file, or"):
        find(values)


PASTED = "dhp1_AAAABBBBCCCC"


@pytest.mark.parametrize(
    ("words", "left"),
    [
        ([PASTED], [PASTED]),
        ([PASTED, "8080"], [PASTED, "8080"]),
        (["token:", PASTED], [PASTED]),
        (["derphole", "pipe", PASTED], [PASTED]),
        (["npx", "derphole@latest", "open", PASTED, "8080"], [PASTED, "8080"]),
        (["8080"], ["8080"]),
        (["file.bin", PASTED], ["file.bin", PASTED]),
        (["derphole", "pipe"], ["derphole", "pipe"]),
        ([], []),
    ],
)
def test_a_command_pasted_behind_a_command_is_dropped(words, left):
    assert unlabelled(words) == left
