"""The command blocks of docs/workflows.md, docs/how-it-works.md and docs/recipes.md are typed.

They are apart from the others so that both can be played at the same time.
"""

import re
import sqlite3
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

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
    ssh_settings,
)
from scenes import (
    BLOCKS,
    folder_into,
    meet_at_a_relay_with_stun,
    play_scene,
    scene,
    scenes_of,
    serve_tunnel,
    start_relay_everywhere,
    stream_into,
)
from stage import Stage
from support.processes import Process, free_port
from support.programs import needs

from tunnel.units import MIB

pytestmark = [pytest.mark.e2e, pytest.mark.alongside("computes")]


@pytest.fixture(scope="module", autouse=True)
def _props() -> Iterator[None]:
    yield
    put_away()


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
    meet_at_a_relay_with_stun(stage)
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


# -- docs/how-it-works.md ---------------------------------------------------------------------


@scene("docs/how-it-works.md / From the relay to a direct path, and back / 1")
def see_it_move(stage: Stage) -> None:
    """The stream goes on until the direct path is there, however long that takes."""
    listen = stage.start(stage.there)
    pipe = Process(
        "pipe",
        ["derphole", "pipe", listen.token()],
        stage.here,
        stage.environment(stage.here),
        stdin=subprocess.PIPE,
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
    shown, written = (
        re.sub(r"/\S+", "PATH", text.rstrip())
        for text in (BLOCKS[f"{HOME} / 3"].text, config.read_text())
    )
    assert written == shown
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


@pytest.mark.parametrize("name", scenes_of(__name__))
def test_blocks_of_guides_do_what_they_say(name: str, relay_url: str) -> None:
    play_scene(name, relay_url)
