"""`ssh invite` and `ssh accept`: a key goes over, is kept once, and lets in at a real sshd."""

import os
import pty
import re
import shlex
import signal
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from desk import Desk, token_of
from support.processes import Process, clean_environment, free_port
from support.real_sshd import Machine
from support.ssh_keys import make_key

pytestmark = pytest.mark.e2e

KINDS = [("ed25519", None), ("ecdsa", 256), ("ecdsa", 384), ("ecdsa", 521), ("rsa", 2048)]


@pytest.fixture(scope="module")
def shared_site() -> Iterator[Machine]:
    machine = Machine()
    yield machine
    machine.close()


@pytest.fixture
def site(shared_site: Machine) -> Machine:
    shared_site.empty_home()
    return shared_site


@pytest.fixture
def key(tmp_path: Path) -> Path:
    return make_key(tmp_path / "key", "ed25519")


def run(command: list[str], home: Path) -> str:
    """Log in with a command as it was printed; returns who is in."""
    environment = {**clean_environment(home), "HOME": str(home)}
    environment.pop("SSH_AUTH_SOCK", None)
    done = subprocess.run(
        [*command, "id", "-un"],
        capture_output=True,
        env=environment,
        stdin=subprocess.DEVNULL,
        timeout=60,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done
    return done.stdout.strip()


def invite(desk: Desk, site: Machine, *words: str, name: str = "invite", **rest: object) -> Process:
    """Start the side that lets in."""
    where = ["--relay", desk.relay_url, "--user", site.user, "--port", str(site.port)]
    return desk.derphole(name, "ssh", "invite", *where, *words, **rest)  # type: ignore[arg-type]


def accept(
    desk: Desk, inviter: Process, key: Path, *words: str, name: str = "accept", **rest: object
) -> Process:
    """Start the side that hands a key over."""
    command = ["ssh", "accept", "-F", str(key), *words, token_of(inviter)]
    return desk.derphole(name, *command, **rest)  # type: ignore[arg-type]


def hand_over(desk: Desk, site: Machine, key: Path) -> Process:
    """Hand a key over, to the end; returns the side that accepted."""
    inviter = invite(desk, site, "--yes")
    accepting = accept(desk, inviter, key, "--yes")
    accepting.ends_with(0)
    inviter.ends_with(0)
    return accepting


@pytest.mark.parametrize(("kind", "bits"), KINDS)
def test_a_key_of_each_type_lets_in(
    desk: Desk, site: Machine, tmp_path: Path, kind: str, bits: int | None
):
    key = make_key(tmp_path / "key", kind, bits)
    assert site.login(tmp_path / "key") is None

    inviter = invite(desk, site, "--yes")
    accepting = accept(desk, inviter, key, "--yes")

    accepting.ends_with(
        0, r'^sending \S+ key SHA256:\S+, \d+ bits, comment "me@here"', "has kept the key"
    )
    inviter.ends_with(
        0, r'^received \S+ key SHA256:\S+, \d+ bits, comment "me@here"', "^the key was added"
    )
    assert site.keys.read_bytes() == key.read_bytes()
    assert stat.S_IMODE(site.keys.stat().st_mode) == 0o600
    assert stat.S_IMODE(site.keys.parent.stat().st_mode) == 0o700
    assert site.keys.owner() == site.keys.parent.owner() == site.user
    assert site.login(tmp_path / "key", "id -un") == site.user


def test_a_key_goes_over_by_a_code_of_three_words(desk: Desk, site: Machine, key: Path):
    inviter = invite(desk, site, "--yes", "--json")
    code = inviter.await_line(r'"event": "code", .*"code": "([^"]+)"').group(1)
    assert len(code.split("-")) == 5
    where = ("--relay", desk.relay_url)
    accepting = desk.derphole("accept", "ssh", "accept", "-F", key, "--yes", *where, code)
    accepting.ends_with(0)
    inviter.ends_with(0)
    assert site.keys.read_bytes() == key.read_bytes()


def test_a_second_run_leaves_one_entry(desk: Desk, site: Machine, tmp_path: Path, key: Path):
    hand_over(desk, site, key)
    make_comment = key.read_text().replace("me@here", "another comment")
    key.write_text(make_comment)

    inviter = invite(desk, site, "--yes")
    accept(desk, inviter, key, "--yes").ends_with(0, "has had the key already")

    inviter.ends_with(0, "^the key was in .* already, for ")
    assert len(site.keys.read_text().splitlines()) == 1


def test_a_key_behind_options_stays_restricted_and_both_are_told(
    desk: Desk, site: Machine, tmp_path: Path, key: Path
):
    hand_over(desk, site, key)
    site.keys.write_text(f'command="true" {key.read_text()}')

    inviter = invite(desk, site, "--yes")
    accept(desk, inviter, key, "--yes").ends_with(0, "^warning: .*behind options")

    inviter.ends_with(0, "already, behind options, which go on to restrict it")
    assert len(site.keys.read_text().splitlines()) == 1


def test_what_is_printed_logs_in_as_printed_in_a_fresh_home(
    desk: Desk, site: Machine, tmp_path: Path, key: Path
):
    lines = hand_over(desk, site, key).stderr.split("\n")
    told = [line.strip() for line in lines[lines.index("Log in with:") :]]
    home = tmp_path / "fresh"
    (home / ".ssh").mkdir(parents=True, mode=0o700)
    known = told[told.index("For ~/.ssh/known_hosts:") + 1 : told.index("For ~/.ssh/config:")]
    known_hosts = home / ".ssh" / "known_hosts"
    known_hosts.write_text("\n".join(known) + "\n")
    command = told[1].split()
    assert command[0] == "ssh"
    strict = ["-F", "none", "-o", "StrictHostKeyChecking=yes", "-o", "BatchMode=yes"]
    # The program asks the user database for the home, so its file is named.
    strict += ["-o", f"UserKnownHostsFile={known_hosts}"]

    assert run([command[0], *strict, *command[1:]], home) == site.user


def test_a_machine_that_is_not_reached_is_reached_as_told(
    desk: Desk, site: Machine, tmp_path: Path, key: Path
):
    """The three commands that are printed are run as they are, with the token put in."""
    inviter = invite(desk, site, "--yes")
    token_of(inviter)
    assert site.server is not None
    site.server.send_signal(signal.SIGSTOP)
    try:
        accepting = accept(desk, inviter, key, "--yes")
        accepting.ends_with(0, "^warning: the ssh server of that machine cannot be reached")
    finally:
        site.server.send_signal(signal.SIGCONT)
    inviter.ends_with(0)
    lines = [line.strip() for line in accepting.stderr.split("\n")]
    there, here, through = (
        shlex.split(next(line for line in lines if re.match(start, line)))[1:]
        for start in ("derphole derptun serve", "derphole derptun open", "ssh -p 2222")
    )
    known_hosts = tmp_path / "known_hosts"
    name = next(word for word in through if "=" in word).partition("=")[2]
    # A server that does not answer shows no keys, so those told, if any, are of other files.
    host_key = (site.base / "run" / "host.pub").read_text()
    known_hosts.write_text(f"{name} {host_key}")

    serve = desk.derphole("serve", *there, "--relay", desk.relay_url)
    token = serve.await_line(r"^(dtcli1_\S+)$").group(1)
    port = str(free_port())
    words = [token if word == "TOKEN" else word for word in here]
    opened = desk.derphole("open", *words[:-1], f"127.0.0.1:{port}")
    opened.await_line("^listening on")

    strict = ["-F", "none", "-o", "StrictHostKeyChecking=yes", "-o", "BatchMode=yes"]
    strict += ["-o", f"UserKnownHostsFile={known_hosts}"]
    through[through.index("-p") + 1] = port  # 2222 may be taken here
    assert run(["ssh", *strict, *through], desk.folder) == site.user


def test_the_block_for_the_config_logs_in(desk: Desk, site: Machine, tmp_path: Path, key: Path):
    home = tmp_path / "fresh"
    home.mkdir()
    inviter = invite(desk, site, "--yes")
    words = ["--yes", "--write-config"]
    accept(desk, inviter, key, *words, variables={"HOME": str(home)}).ends_with(0, "^added to ")
    inviter.ends_with(0)
    config = home / ".ssh" / "config"
    alias = re.findall(r"^Host (\S+)$", config.read_text(), re.MULTILINE)[0]
    trusting = ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]

    options = ["-F", str(config), "-o", "BatchMode=yes", *trusting]
    assert run(["ssh", *options, alias], home) == site.user

    inviter = invite(desk, site, "--yes", name="again")
    again = accept(desk, inviter, key, *words, name="b", variables={"HOME": str(home)})
    again.ends_with(0, "has .* already")
    inviter.ends_with(0)
    assert config.read_text().count("Host ") == 1


@pytest.mark.parametrize(("answer", "code"), [(b"y\n", 0), (b"\n", 1), (b"nope\n", 1)])
def test_the_inviting_person_is_asked(
    desk: Desk, site: Machine, tmp_path: Path, key: Path, answer: bytes, code: int
):
    keyboard, stdin = pty.openpty()
    inviter = invite(desk, site, stdin=stdin, on_terminal=True)
    token = inviter.await_line(r"(dhp1_[A-Za-z0-9_-]{20,})").group(1)
    accepting = desk.derphole("accept", "ssh", "accept", "--yes", "-F", str(key), token)
    inviter.await_line(rf"^let it log in as {site.user}\? \[y/N\]")

    os.write(keyboard, answer)

    inviter.ends_with(code)
    accepting.ends_with(code, "declined there" if code else "has kept")
    assert site.keys.exists() == (code == 0)
    os.close(keyboard)
    os.close(stdin)


def test_nobody_to_ask_is_told_before_a_token_is_printed(
    desk: Desk, site: Machine, tmp_path: Path, key: Path
):
    invite(desk, site).ends_with(1, "nobody can be asked whether a key is wanted.*--yes")
    inviter = invite(desk, site, "--yes", name="asked")
    accept(desk, inviter, key).ends_with(1, "nobody can be asked whether the key is to be handed")
    inviter.stop()


@pytest.mark.parametrize(
    ("contents", "says"),
    [
        (None, "is a private key, which must"),
        (b"", "is empty"),
        (b"ssh-ed25519 AAAA\n", "is damaged"),
        (b'command="x" %s', "has options before the key"),
        (b"%s%s", "has 2 lines"),
        (b"ssh-dss AAAAB3NzaC1kc3M= x\n", "is a DSA key"),
        (b"-----BEGIN CERTIFICATE-----\n", "is no OpenSSH public key"),
    ],
)
def test_what_is_no_key_is_refused_before_it_is_sent(
    desk: Desk, site: Machine, tmp_path: Path, key: Path, contents: bytes | None, says: str
):
    line = key.read_bytes()
    key.write_bytes(
        (tmp_path / "key").read_bytes() if contents is None else contents.replace(b"%s", line)
    )
    inviter = invite(desk, site, "--yes")

    accept(desk, inviter, key, "--yes").ends_with(1, says)

    inviter.send_signal(signal.SIGINT)
    inviter.ends_with(130)
    assert not site.keys.exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--user", "nobody-is-called-so"], "this machine has no user nobody-is-called-so"),
        (["--port", "0"], 'invalid --port value "0"'),
    ],
)
def test_mistakes_are_told_before_the_network_is_used(desk: Desk, words: list[str], says: str):
    process = desk.derphole("invite", "ssh", "invite", "--yes", *words)
    process.wait()
    assert any(re.search(says, line) for line in process.lines), process.story


def test_what_sshd_would_refuse_is_told_before_the_token(desk: Desk, site: Machine):
    site.home.chmod(0o777)
    inviter = invite(desk, site, "--yes")
    token_of(inviter)

    told = [line for line in inviter.lines if "can be written by everybody" in line]
    assert len(told) == 1
    assert f"`chmod go-w {site.home}` mends it" in told[0]
    assert inviter.lines.index(told[0]) < inviter.lines.index(token_of(inviter))
    inviter.send_signal(signal.SIGINT)
    inviter.ends_with(130)


def test_who_leaves_is_told_to_the_other_side(desk: Desk, site: Machine, tmp_path: Path, key: Path):
    keyboard, stdin = pty.openpty()
    inviter = invite(desk, site, stdin=stdin, on_terminal=True)
    token = inviter.await_line(r"(dhp1_[A-Za-z0-9_-]{20,})").group(1)
    accepting = desk.derphole("accept", "ssh", "accept", "--yes", "-F", str(key), token)
    inviter.await_line("^let it log in")

    inviter.send_signal(signal.SIGINT)

    accepting.ends_with(1, "interrupted by SIGINT")
    inviter.ends_with(130)
    assert not site.keys.exists()
    os.close(keyboard)
    os.close(stdin)


def test_what_is_typed_before_the_question_is_no_answer(desk: Desk, site: Machine, key: Path):
    keyboard, stdin = pty.openpty()
    inviter = invite(desk, site, stdin=stdin, on_terminal=True)
    token = inviter.await_line(r"(dhp1_[A-Za-z0-9_-]{20,})").group(1)
    os.write(keyboard, b"y\n")
    accepting = desk.derphole("accept", "ssh", "accept", "--yes", "-F", str(key), token)
    inviter.await_line("^let it log in")
    accepting.await_line("^waiting for the other side to let the key in")
    assert not site.keys.exists()

    os.write(keyboard, b"n\n")

    inviter.ends_with(1)
    accepting.ends_with(1, "declined there")
    os.close(keyboard)
    os.close(stdin)


def test_a_quiet_question_names_the_key_and_a_second_key_is_another_question(
    desk: Desk, site: Machine, tmp_path: Path, key: Path
):
    other = make_key(tmp_path / "other", "ed25519", comment="somebody")
    keyboard, stdin = pty.openpty()
    inviter = invite(desk, site, "--quiet", stdin=stdin, on_terminal=True)
    token = inviter.await_line(r"(dhp1_[A-Za-z0-9_-]{20,})").group(1)
    first = desk.derphole("first", "ssh", "accept", "--yes", "-F", str(key), token)
    inviter.await_line(r'^received ed25519 key SHA256:\S+, 256 bits, comment "me@here"')
    first.send_signal(signal.SIGKILL)
    first.wait()
    second = desk.derphole("second", "ssh", "accept", "--yes", "-F", str(other), token)
    inviter.await_line('^received .* comment "somebody"')

    os.write(keyboard, b"y\n")

    second.ends_with(0)
    inviter.ends_with(0, "^the key was added")
    assert site.keys.read_bytes() == other.read_bytes()
    os.close(keyboard)
    os.close(stdin)


def test_an_account_whose_shell_only_ends_is_told_before_the_token(desk: Desk, site: Machine):
    subprocess.run(["usermod", "-s", "/usr/sbin/nologin", site.user], check=True)
    try:
        inviter = invite(desk, site, "--yes")
        token_of(inviter)
    finally:
        subprocess.run(["usermod", "-s", "/bin/sh", site.user], check=True)

    assert any("so that nobody can log in; `chsh -s /bin/sh" in line for line in inviter.lines)
    inviter.send_signal(signal.SIGINT)
    inviter.ends_with(130)
