"""Every command block of the documents is typed as it stands, on two machines that are one.

A scene plays the blocks that it names.  What cannot be run here is checked, for a reason that stands
beside it.  A block that neither knows fails: whoever writes one says here how it is run.
"""

import os
import re
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import test_command_blocks_of_guides as guides
from props import (
    contents,
    fill,
    fill_folder,
    machine_with_key,
    page_port,
    put_away,
    shows_page,
)
from scenes import (
    BLOCKS,
    SCENES,
    TYPED,
    meet_at_a_relay_with_stun,
    play_scene,
    scene,
    scenes_of,
    serve_tunnel,
    start_relay_everywhere,
)
from stage import Stage
from support.documents import OTHER_KINDS, ROOT, SHELL_KINDS, Block, is_shell, of_ours, parse_ours
from support.processes import await_true, free_port
from support.programs import needs

from derphole.network.verdict import Verdict

pytestmark = [pytest.mark.e2e, pytest.mark.alongside("computes")]

# Blocks that are read by the shell and by the parser of our commands, but not run; and why.
CHECKED = {
    "CONTRIBUTING.md / Ten minutes to a green check / 1": "it runs all tests, this one too; "
    "scripts/check and scripts/test are what .ci/run does",
    "docs/checking.md / Two machines / 1": "it needs another machine; test_two_hosts.py runs it in "
    "the lab",
    "docs/checking.md / The real relays / 1": "it asks relays of others; test_live_check.py runs it "
    "with one of ours",
    "docs/recipes.md / A database dump / 2": "it needs a server of PostgreSQL; the same shape runs "
    "with SQLite and Redis",
}


def test_every_block_is_played_or_checked() -> None:
    played = [name for _, names, _ in SCENES.values() for name in names]
    run = {*scenes_of(__name__), *scenes_of(guides.__name__)}
    known = [*played, *CHECKED]

    assert len(known) == len(set(known))
    assert run == set(SCENES)
    assert sorted(set(TYPED) - set(known)) == [], "nobody plays these"
    assert sorted(set(known) - set(TYPED)) == [], "these are gone"


def test_every_block_says_what_it_is() -> None:
    kinds = {*SHELL_KINDS, *OTHER_KINDS}

    assert [name for name, block in BLOCKS.items() if block.kind not in kinds] == []


@pytest.mark.parametrize("name", CHECKED)
def test_scripts_in_a_block_that_is_not_run_are_there(name: str) -> None:
    scripts = re.findall(r"^(?:scripts/[\w-]+|\.ci/run)", TYPED[name].text, re.MULTILINE)

    assert [script for script in scripts if not os.access(ROOT / script, os.X_OK)] == []


@pytest.mark.parametrize("name", TYPED)
def test_a_block_can_be_read_by_the_shell_and_by_our_commands(name: str) -> None:
    steps = TYPED[name].steps

    assert steps
    for step in steps:
        assert is_shell(step.command), step.command
        for words in of_ours(step.command):
            parse_ours(words)


@pytest.fixture(scope="module", autouse=True)
def _props() -> Iterator[None]:
    yield
    put_away()


# -- README.md --------------------------------------------------------------------------------


@scene("README.md / derphole / 1")
def two_commands(stage: Stage) -> None:
    fill_folder(stage.here / "photos")
    send = stage.start()
    stage.run(stage.there, {"CODE": send.code()})
    send.ends()

    assert contents(stage.there / "photos") == contents(stage.here / "photos")


@scene("README.md / Install / 1")
def install(stage: Stage) -> None:
    """From a clone, but without the network: what it needs comes from where the tests run.

    That is why setuptools is among the packages of the tests.
    """
    needs("git")
    if not (ROOT / ".git").exists():
        pytest.skip("this is no checkout of git")
    packages = stage.here / "packages"
    packages.mkdir()
    site = Path(pytest.__file__).parents[1]
    for entry in site.iterdir():
        if "derphole" not in entry.name and entry.suffix != ".pth":
            (packages / entry.name).symlink_to(entry)
    stage.program("python3", f'exec {Path(sys.executable).resolve()} "$@"')
    stage.variables |= {
        "PYTHONPATH": str(packages),
        "PIP_NO_INDEX": "1",
        "PIP_NO_COMPILE": "1",
        "PIP_NO_BUILD_ISOLATION": "0",  # as pip understands it: no isolation
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "safe.directory",
        "GIT_CONFIG_VALUE_0": "*",
    }
    source = stage.there / "derphole"  # a clone has the name of what it was cloned from
    source.symlink_to(ROOT)
    installed = stage.start(None, {"<this repository>": source}, whole=True).ends()

    assert re.search(rb"^v\d+\.\d+\.\d+$", installed.process.stdout, re.MULTILINE)
    assert (stage.here / ".derphole/bin/derptun").exists()


@scene("README.md / Send files, folders, text / 1")
def send_a_folder(stage: Stage) -> None:
    fill_folder(stage.here / "tree", 304)
    send = stage.start()
    receive = stage.aside(stage.there, "derphole", "receive", send.code())
    receive.ends_with(0)
    send.ends()

    assert contents(stage.there / "tree") == contents(stage.here / "tree")


@scene("README.md / Send a stream / 1")
def pipe_with_pv(stage: Stage) -> None:
    needs("pv", "tar")
    (stage.there / "folder").mkdir()
    fill_folder(stage.here / "folder")
    listen = stage.start(stage.there)
    stage.run(None, {"TOKEN": listen.token()})
    listen.ends()

    assert contents(stage.there / "folder/folder") == contents(stage.here / "folder")


@scene("README.md / Send a stream / 2")
def pipe_with_a_file_of_the_token(stage: Stage) -> None:
    data = fill(stage.here / "original.bin")
    listen = stage.aside(stage.there, "derphole", "listen", "-o", "copy.bin")
    token = listen.await_line(r"^(dhp1_\S+)$")[1]
    paste = stage.start(typed=True)
    paste.types(f"{token}\n\x04")
    paste.ends()
    stage.run()
    listen.ends_with(0)

    assert (stage.there / "copy.bin").read_bytes() == data
    assert stat.S_IMODE((stage.here / "token.txt").stat().st_mode) == 0o600


@scene(
    "README.md / Use a TCP service of another machine / 1",
    "README.md / Use a TCP service of another machine / 2",
)
def share_a_page(stage: Stage) -> None:
    port = page_port()
    share = stage.start(None, {"8080": port})
    opened = stage.start(stage.there, {"12-048219-cactus-dentist": share.code()})
    address = opened.says(r"^listening on (\S+)$")[1]

    assert shows_page(stage, address)
    share.says("^client 1 is connected$")
    opened.ctrl_c()
    share.ctrl_c()


@scene("README.md / Keep a tunnel for months / 1")
def keep_a_tunnel(stage: Stage) -> None:
    port, local = page_port(), free_port()
    serve_tunnel(stage, port)
    opened = stage.start(stage.there, {"127.0.0.1:2222": f"127.0.0.1:{local}"})
    opened.says(r"^the tunnel to server \S+ is up$")

    assert shows_page(stage, f"127.0.0.1:{local}")


@scene("README.md / Log in by ssh / 1")
def log_in(stage: Stage) -> None:
    machine = machine_with_key(stage, (stage.there,))
    machine.keys.unlink()
    (stage.there / "key.pub").write_bytes(Path(f"{machine.key}.pub").read_bytes())
    there = f"ssh invite --user {machine.user} --port {machine.port}"
    invite = stage.start(None, {"ssh invite": there}, typed=True)
    accept = stage.start(
        stage.there, {"TOKEN": f"-F key.pub {invite.token()}"}, typed=True
    )  # the key is not looked for in the home of whoever runs the tests
    accept.says(r"\[y/N\]")
    accept.types("y\n")
    invite.says(r"\[y/N\]")
    invite.types("y\n")
    accept.ends()
    invite.ends()

    assert machine.login() == "in"


@scene("README.md / Relays / 1")
def run_a_relay(stage: Stage) -> None:
    relay = start_relay_everywhere(stage)
    url = relay.says(r"^relay ready: (\S+)")[1]
    stage.variables["DERPHOLE_RELAY"] = url
    data = fill(stage.here / "WHAT")
    send = stage.aside(stage.here, "derphole", "send", "--json", "WHAT")
    code = send.await_line(r'"code": "([^"]+)"')[1]
    stage.aside(stage.there, "derphole", "receive", code).ends_with(0)
    send.ends_with(0)
    relay.ctrl_c()

    assert (stage.there / "WHAT").read_bytes() == data


@scene("README.md / Will it be direct? / 1")
def check_the_network(stage: Stage) -> None:
    meet_at_a_relay_with_stun(stage)
    check = stage.run()
    verdict = check.says("^Network check: (.+)$")[1]

    assert verdict in set(Verdict)


# -- docs/how-it-works.md, docs/netcheck.md ---------------------------------------------------


@scene("docs/netcheck.md / netcheck / 1")
def report_on_the_network(stage: Stage) -> None:
    """What it says is this network's own: verdict and sections are compared, and all labels exist."""
    meet_at_a_relay_with_stun(stage)
    check = stage.start(is_compared=False).ends()
    sections = [line for line in check.process.lines if re.fullmatch(r"\S.*:", line)]
    shown = [line for line in check.step.shown if re.fullmatch(r"\S.*:", line)]
    labels = {found[1] for line in check.step.shown if (found := re.match(r"  ([\w -]+): ", line))}
    source = (ROOT / "derphole/network/report.py").read_text()

    assert sections == shown
    assert check.says("^Network check: (.+)$")[1] in set(Verdict)
    missing = {label for label in labels if label not in source} - {"PCP", "NAT-PMP", "UPnP"}
    assert missing == set()


# -- docs/relays.md, docs/troubleshooting.md, docs/tunnels.md ---------------------------------


@scene("docs/relays.md / A relay of your own / 1")
def relays_with_and_without_tls(stage: Stage) -> None:
    needs("openssl")
    stage.start(None, {"127.0.0.1:3340": "127.0.0.1:0"}).says("^relay ready: ")
    subject = ("-subj", "/CN=relay", "-keyout", "relay.key", "-out", "relay.crt", "-days", "2")
    stage.aside(
        stage.here, "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", *subject
    ).ends_with(0)
    start_relay_everywhere(stage).says("^relay ready: ")

    assert (stage.here / "relay.json").exists()


@scene("docs/relays.md / Behind a reverse proxy / 1")
def a_relay_behind_a_proxy(stage: Stage) -> None:
    where = "relay --listen 127.0.0.1:0 --stun-port 0"
    relay = stage.start(None, {"derphole relay": f"derphole {where}"})

    relay.says(r"^relay ready: https://relay\.example\S* ")


@scene("docs/troubleshooting.md / Troubleshooting / 1")
def what_helps_with_everything(stage: Stage) -> None:
    meet_at_a_relay_with_stun(stage)
    fill(stage.here / "photo.jpg")
    stage.run()
    for number in range(2):
        there = stage.there / str(number)
        there.mkdir()
        send = stage.start()
        stage.aside(there, "derphole", "receive", send.code()).ends_with(0)
        send.ends()
    assert (stage.here / "report.jsonl").stat().st_size > 0


@scene("docs/tunnels.md / Tunnels that last / 1")
def a_tunnel_that_lasts(stage: Stage) -> None:
    port, local = page_port(), free_port()
    serve_tunnel(stage, port)
    stage.start(stage.there, {"2222": local}).says("^listening on ")

    assert shows_page(stage, f"127.0.0.1:{local}")


@scene("docs/tunnels.md / ssh without a port / 1")
def ssh_without_a_port(stage: Stage) -> None:
    machine = machine_with_key(stage, (stage.there,))
    token = ("token", "server", "--output", "server.dts")
    stage.aside(stage.there, "derptun", *token).ends_with(0)
    source = ("--token-file", "server.dts")
    stage.aside(
        stage.there, "derptun", "token", "client", *source, "--output", "laptop.dtc"
    ).ends_with(0)
    serve = stage.aside(
        stage.there, "derptun", "serve", *source, "--tcp", f"127.0.0.1:{machine.port}"
    )
    serve.await_line("^serving ")
    stage.run(stage.there)
    config = stage.there / ".ssh" / "config"
    lines = config.read_text().splitlines()
    start = lines.index("Host myhost")
    config.write_text("\n".join([*lines[start:], "Host *", *lines[:start], ""]))
    stage.run(stage.there, {"user": f"-T {machine.user}"})

    await_true(lambda: "disconnected" in serve.stderr or "left" in serve.stderr, "ssh has gone")


@pytest.mark.parametrize("name", scenes_of(__name__))
def test_blocks_do_what_they_say(name: str, relay_url: str) -> None:
    play_scene(name, relay_url)


def test_a_program_that_closes_its_streams_before_it_ends_is_not_hung_up(tmp_path: Path) -> None:
    """As chmod and its like do."""
    stage = Stage(tmp_path, [Block("", "", 1, "sh", "exec 2>&-; sleep 0.2; true")], {})
    try:
        stage.run()
    finally:
        stage.close()
