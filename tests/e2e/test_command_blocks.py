"""Every command block of the documents is typed as it stands, on two machines that are one.

A scene plays the blocks that it names.  What cannot be run here is checked, for a reason that stands
beside it.  A block that neither knows fails: whoever writes one says here how it is run.
"""

import os
import re
import shutil
import sqlite3
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import mkdtemp

import pytest
from props import (
    PAGE,
    contents,
    fill,
    fill_folder,
    machine_with_key,
    page_port,
    put_away,
    serve_redis,
    shows_page,
    ssh_settings,
)
from stage import Played, Stage
from support.documents import (
    OTHER_KINDS,
    ROOT,
    SHELL_KINDS,
    Block,
    blocks_of,
    documents,
    is_shell,
    of_ours,
    parse_ours,
)
from support.processes import Process, await_true, free_port
from support.programs import needs

from derphole.network.verdict import Verdict
from tunnel.units import MIB

pytestmark = [pytest.mark.e2e, pytest.mark.alongside("computes")]

Scene = Callable[[Stage], None]
SCENES: dict[str, tuple[list[str], Scene]] = {}
BLOCKS = {block.name: block for path in documents() for block in blocks_of(path)}
TYPED = {name: block for name, block in BLOCKS.items() if block.kind in SHELL_KINDS}
# Blocks that are read by the shell and by the parser of our commands, but not run; and why.
CHECKED = {
    "CONTRIBUTING.md / Ten minutes to a green check / 1": "it runs all tests, this one too; "
    "scripts/check and scripts/test are what .ci/run does",
    "docs/recipes.md / A database dump / 2": "it needs a server of PostgreSQL; the same shape runs "
    "with SQLite and Redis",
}


def scene(*names: str) -> Callable[[Scene], Scene]:
    """Have a function play these blocks, in this order."""

    def keep(play: Scene) -> Scene:
        assert play.__name__ not in SCENES, play.__name__
        SCENES[play.__name__] = (list(names), play)
        return play

    return keep


def test_every_block_is_played_or_checked() -> None:
    played = [name for names, _ in SCENES.values() for name in names]
    known = [*played, *CHECKED]

    assert len(known) == len(set(known))
    assert sorted(set(TYPED) - set(known)) == [], "nobody plays these"
    assert sorted(set(known) - set(TYPED)) == [], "these are gone"


def test_every_block_says_what_it_is() -> None:
    kinds = {*SHELL_KINDS, *OTHER_KINDS}

    assert [name for name, block in BLOCKS.items() if block.kind not in kinds] == []


@pytest.mark.parametrize("name", CHECKED)
def test_scripts_in_a_block_that_is_not_run_are_there(name: str) -> None:
    scripts = re.findall(r"^(?:scripts/\w+|\.ci/run)", TYPED[name].text, re.MULTILINE)

    assert [script for script in scripts if not os.access(ROOT / script, os.X_OK)] == []


@pytest.mark.parametrize("name", TYPED)
def test_a_block_can_be_read_by_the_shell_and_by_our_commands(name: str) -> None:
    steps = TYPED[name].steps

    assert steps
    for step in steps:
        assert is_shell(step.command), step.command
        for words in of_ours(step.command):
            parse_ours(words)


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of the relay that both machines are told, as by the public map."""
    folder = tmp_path_factory.mktemp("relay")
    stage = Stage(folder, [], {})
    process = stage.aside(
        stage.here, "derphole", "relay", "--listen", "127.0.0.1:0", "--stun-port", "0"
    )
    yield process.await_line(r"^relay ready: (\S+)")[1]
    stage.close()


@pytest.fixture(scope="module", autouse=True)
def _props() -> Iterator[None]:
    yield
    put_away()


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short name, as the path of a socket must be."""
    path = Path(mkdtemp(prefix="dh-"))
    yield path
    shutil.rmtree(path)


@pytest.mark.parametrize("name", SCENES)
def test_blocks_do_what_they_say(name: str, relay: str, folder: Path) -> None:
    names, play = SCENES[name]
    stage = Stage(folder, [TYPED[block] for block in names], {"DERPHOLE_RELAY": relay})
    try:
        play(stage)
        stage.check()
    finally:
        stage.close()


# -- what scenes share ------------------------------------------------------------------------


def stream_into(stage: Stage, sent: str = "disk.img", came: str = "received.img") -> None:
    """Play `listen` and `pipe` over a file."""
    data = fill(stage.here / sent)
    listen = stage.start(stage.there)
    stage.run(stage.here, {"TOKEN": listen.token()})
    listen.ends()

    assert (stage.there / came).read_bytes() == data


def folder_into(stage: Stage, folder: str, came: str) -> None:
    """Play a tar pipe."""
    fill_folder(stage.here / folder)
    listen = stage.start(stage.there)
    stage.run(stage.here, {"TOKEN": listen.token()})
    listen.ends()

    assert contents(stage.there / came / folder) == contents(stage.here / folder)


def serve_tunnel(stage: Stage, port: int) -> None:
    """Play the making of both tokens and `serve`, and carry the client token over."""
    stage.run()
    stage.run()
    stage.start(None, {"127.0.0.1:22": f"127.0.0.1:{port}"}).says(r"^serving 127\.0\.0\.1:")
    assert stat.S_IMODE((stage.here / "server.dts").stat().st_mode) == 0o600
    [token] = stage.here.glob("*.dtc")
    shutil.copy(token, stage.there)


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


def start_relay_everywhere(stage: Stage) -> Played:
    """Play `relay --listen :3340` with ports that are free, STUN's too."""
    return stage.start(None, {":3340": ":0 --stun-port 0"})


@scene("README.md / Will it be direct? / 1")
def check_the_network(stage: Stage) -> None:
    check = stage.run()
    verdict = check.says("^Network check: (.+)$")[1]

    assert verdict in set(Verdict)


# -- docs/workflows.md ------------------------------------------------------------------------

FILES = "docs/workflows.md / Files, folders, text"


@scene(f"{FILES} / 1")
def send_a_photo(stage: Stage) -> None:
    data = fill(stage.here / "photo.jpg")
    send = stage.start()
    stage.run(stage.there, {"CODE": send.code()})
    send.ends()

    assert (stage.there / "photo.jpg").read_bytes() == data


@scene(f"{FILES} / 2")
def send_several(stage: Stage) -> None:
    fill_folder(stage.here / "project")
    fill(stage.here / "project" / "left out.o")
    notes = fill(stage.here / "notes.txt")
    send = stage.start()
    stage.run(stage.there, {"CODE": send.code()})
    send.ends()
    (stage.here / "project" / "left out.o").unlink()

    assert contents(stage.there / "incoming" / "project") == contents(stage.here / "project")
    assert (stage.there / "incoming" / "notes.txt").read_bytes() == notes


@scene(f"{FILES} / 3")
def send_a_text(stage: Stage) -> None:
    send = stage.start()
    receive = stage.run(stage.there, {"CODE": send.code()})
    send.ends()

    assert receive.process.stdout.strip() == b"see you at 8"


@scene(f"{FILES} / 4")
def the_receiver_begins(stage: Stage) -> None:
    needs("tar")
    fill_folder(stage.here / "project")
    receive = stage.start(stage.there)
    stage.run(None, {"CODE": receive.code()})
    receive.ends()

    assert (stage.there / "project.tar").stat().st_size > 4500


@scene("docs/workflows.md / A stream of bytes / 1")
def stream_of_standard_input(stage: Stage) -> None:
    stream_into(stage)


@scene("docs/workflows.md / A stream of bytes / 2")
def stream_of_files(stage: Stage) -> None:
    stream_into(stage)


@scene("docs/workflows.md / A TCP service for today / 1")
def a_service_for_today(stage: Stage) -> None:
    port, local = page_port(), free_port()
    share = stage.start(None, {"3000": port})
    opened = stage.start(stage.there, {"CODE": share.code(), "8080": local})
    opened.says("^listening on ")
    curl = stage.run(stage.there, {"8080": local})

    assert curl.process.stdout == PAGE
    opened.ctrl_c()
    share.ctrl_c()


@scene("docs/workflows.md / A TCP service for months / 1")
def a_service_for_months(stage: Stage) -> None:
    machine = machine_with_key(stage, (stage.there,))
    local = free_port()
    serve_tunnel(stage, machine.port)
    stage.start(stage.there, {"2222": local}).says("^listening on ")
    login = stage.run(stage.there, {"2222": f"{local} -T", "user": machine.user})

    assert login.process.lines == []


@scene("docs/workflows.md / A login by ssh / 1")
def invite_a_user(stage: Stage) -> None:
    machine = machine_with_key(stage, (stage.there,))
    machine.keys.unlink()
    (stage.there / "key.pub").write_bytes(Path(f"{machine.key}.pub").read_bytes())
    invite = stage.start(None, {"deploy": f"{machine.user} --port {machine.port}"}, typed=True)
    accept = stage.start(stage.there, {"TOKEN": f"-F key.pub {invite.token()}"}, typed=True)
    accept.says(r"\[y/N\]")
    accept.types("y\n")
    invite.says(r"\[y/N\]")
    invite.types("y\n")
    accept.ends()
    invite.ends()

    assert machine.login() == "in"


@scene("docs/workflows.md / A look at the network / 1")
def look_at_the_network(stage: Stage) -> None:
    stage.run().process.ends_with(0, "^Network check: ")


@scene("docs/workflows.md / A relay of your own / 1")
def everybody_names_a_relay(stage: Stage) -> None:
    relay = start_relay_everywhere(stage)
    url = relay.says(r"^relay ready: (\S+)")[1]
    del stage.variables["DERPHOLE_RELAY"]
    data = fill(stage.here / "photo.jpg")
    send = stage.start(None, {"http://192.0.2.17:3340": f"'{url}'"})
    receive = stage.aside(stage.there, "derphole", "receive", "--relay", url, send.code())
    receive.ends_with(0)
    send.ends()

    assert (stage.there / "photo.jpg").read_bytes() == data


@scene("docs/workflows.md / For every command / 1")
def say_the_version(stage: Stage) -> None:
    stage.run()


# -- docs/how-it-works.md, docs/netcheck.md ---------------------------------------------------


@scene("docs/how-it-works.md / From the relay to a direct path, and back / 1")
def see_it_move(stage: Stage) -> None:
    """The stream goes on until the direct path is there, however long that takes."""
    listen = stage.start(stage.there)
    pipe = Process(
        "pipe",
        ["derphole", "pipe", listen.token()],
        stage.here,
        stage.environment(stage.here),
        stdin=-1,  # a pipe
    )
    try:
        pipe.feed(bytes(MIB))
        listen.says("^connected-direct$")
        pipe.feed(bytes(2 * MIB))
        pipe.end_input()
        pipe.ends_with(0)
        listen.ends()
    finally:
        pipe.stop()

    assert (stage.there / "received.img").stat().st_size == 3 * MIB


@scene("docs/netcheck.md / netcheck / 1")
def report_on_the_network(stage: Stage) -> None:
    """What it says is this network's own: verdict and sections are compared, and all labels exist."""
    check = stage.start(is_compared=False).ends()
    sections = [line for line in check.process.lines if re.fullmatch(r"\S.*:", line)]
    shown = [line for line in check.step.shown if re.fullmatch(r"\S.*:", line)]
    labels = {found[1] for line in check.step.shown if (found := re.match(r"  ([\w -]+): ", line))}
    source = (ROOT / "derphole/network/report.py").read_text()

    assert sections == shown
    assert check.says("^Network check: (.+)$")[1] in set(Verdict)
    missing = {label for label in labels if label not in source} - {"PCP", "NAT-PMP", "UPnP"}
    assert missing == set()


# -- docs/recipes.md --------------------------------------------------------------------------

TAR = "docs/recipes.md / A folder through a tar pipe"
PV = "docs/recipes.md / A look at the stream: pv"
DUMP = "docs/recipes.md / A database dump"
HOME = "docs/recipes.md / ssh, scp, rsync and git to a machine behind a NAT"


@scene(f"{TAR} / 1")
def a_tar_pipe(stage: Stage) -> None:
    needs("tar")
    folder_into(stage, "folder", "restored")


@scene(f"{TAR} / 2")
def a_tar_pipe_that_is_compressed(stage: Stage) -> None:
    needs("tar", "gzip")
    (stage.there / "restored").mkdir()
    folder_into(stage, "folder", "restored")


@scene(f"{TAR} / 3")
def a_pipeline_that_fails_is_noticed(stage: Stage) -> None:
    needs("tar")
    fill_folder(stage.here / "folder")
    listen = stage.aside(stage.there, "derphole", "listen", "-o", "folder.tar")
    token = listen.await_line(r"^(dhp1_\S+)$")[1]
    done = stage.start(None, {"TOKEN": token}, whole=True).ends()
    listen.ends_with(0)

    assert done.process.stdout == b"all of it is there\n"


@scene(f"{PV} / 1")
def watch_with_pv(stage: Stage) -> None:
    needs("pv")
    stream_into(stage)


@scene(f"{PV} / 2")
def limit_with_pv(stage: Stage) -> None:
    needs("pv")
    stream_into(stage)


@scene(f"{DUMP} / 1")
def dump_sqlite(stage: Stage) -> None:
    needs("sqlite3")
    with sqlite3.connect(stage.here / "shop.db") as shop:
        shop.execute("create table things (name text)")
        shop.execute("insert into things values ('a kettle')")
    shop.close()
    listen = stage.start(stage.there)
    stage.run(None, {"TOKEN": listen.token()})
    listen.ends()

    copy = sqlite3.connect(stage.there / "copy.db")
    assert copy.execute("select name from things").fetchall() == [("a kettle",)]
    copy.close()


@scene(f"{DUMP} / 3")
def dump_redis(stage: Stage) -> None:
    port = serve_redis(stage)
    stage.aside(stage.here, "redis-cli", "-p", str(port), "set", "thing", "kettle").ends_with(0)
    listen = stage.start(stage.there)
    stage.run(None, {"redis-cli": f"redis-cli -p {port}", "TOKEN": listen.token()})
    listen.ends()
    dump = (stage.there / "dump.rdb").read_bytes()

    assert dump.startswith(b"REDIS")
    assert b"kettle" in dump


@scene("docs/recipes.md / A database, or a web page, as if it were here / 1")
def a_database_as_if_it_were_here(stage: Stage) -> None:
    port, local = serve_redis(stage), free_port()
    share = stage.start(None, {"6379": port})
    opened = stage.start(stage.there, {"CODE": share.code(), "6380": local})
    opened.says("^listening on ")
    ping = stage.run(stage.there, {"6380": local})

    assert ping.process.stdout == b"PONG\n"


@scene(f"{HOME} / 1", f"{HOME} / 2", f"{HOME} / 4")
def programs_of_ssh(stage: Stage) -> None:
    needs("rsync", "git")
    machine = machine_with_key(stage, (stage.there,))
    serve_tunnel(stage, machine.port)
    (stage.there / ".ssh" / "config").unlink()
    stage.run(stage.there)
    stage.run(stage.there)
    config = stage.there / ".ssh" / "config"
    block = BLOCKS[f"{HOME} / 3"].text
    pattern = [line.partition(" /")[0].rstrip() for line in block.splitlines()]
    written = [line.partition(" /")[0] for line in config.read_text().splitlines()]
    assert written == pattern
    config.write_text(config.read_text() + "Host *\n" + ssh_settings(machine, stage.there))
    fill(stage.there / "notes.txt")
    fill_folder(stage.there / "folder")
    project = machine.home / "project.git"
    stage.aside(stage.here, "git", "init", "-q", "--bare", project).ends_with(0)
    for path in (project, *project.rglob("*")):
        machine.give(path)

    user = {"user": machine.user}
    assert b" up " in stage.run(stage.there, user).process.stdout
    for _ in range(3):
        stage.run(stage.there, user)
    assert contents(machine.home / "backup/folder") == contents(stage.there / "folder")
    assert (machine.home / "notes.txt").read_bytes() == (stage.there / "notes.txt").read_bytes()
    assert (stage.there / "project" / ".git").is_dir()


@scene("docs/recipes.md / A file from a script / 1")
def a_script(stage: Stage) -> None:
    data = fill(stage.here / "original.txt")
    stage.start(whole=True).ends()

    assert (stage.here / "report.txt").read_bytes() == data


@scene("docs/recipes.md / A relay in the office / 1")
def an_office_relay(stage: Stage) -> None:
    start_relay_everywhere(stage).says("^relay ready: ")

    assert stat.S_IMODE((stage.here / "relay.json").stat().st_mode) == 0o600


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


def test_a_program_that_closes_its_streams_before_it_ends_is_not_hung_up(folder: Path) -> None:
    """As chmod and its like do; somebody else's window stays open, too."""
    stage = Stage(folder, [Block("", "", 1, "sh", "exec 2>&-; sleep 0.2; true")], {})
    try:
        stage.run()
    finally:
        stage.close()
