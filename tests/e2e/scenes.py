"""Scenes: each plays some command blocks of the documents, from its first step to its last."""

import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from tempfile import mkdtemp

from props import contents, fill, fill_folder
from stage import Played, Stage
from support.documents import SHELL_KINDS, blocks_of, documents

Play = Callable[[Stage], None]
# By name: the module that it is run in, the blocks, and what plays them.
SCENES: dict[str, tuple[str, list[str], Play]] = {}
BLOCKS = {block.name: block for path in documents() for block in blocks_of(path)}
TYPED = {name: block for name, block in BLOCKS.items() if block.kind in SHELL_KINDS}


def scene(*names: str) -> Callable[[Play], Play]:
    """Have a function play these blocks, in this order."""

    def keep(play: Play) -> Play:
        assert play.__name__ not in SCENES, play.__name__
        SCENES[play.__name__] = (play.__module__, list(names), play)
        return play

    return keep


def scenes_of(module: str) -> list[str]:
    """Return the names of a module's scenes."""
    return [name for name, (where, _, _) in SCENES.items() if where == module]


def play_scene(name: str, relay_url: str) -> None:
    """Play a scene on two machines that are told of a relay, as they would be by the public map."""
    _, names, play = SCENES[name]
    folder = Path(mkdtemp(prefix="dh-"))  # a short name, as the path of a socket must have
    stage = Stage(folder, [TYPED[block] for block in names], {"DERPHOLE_RELAY": relay_url})
    try:
        play(stage)
        stage.check()
    finally:
        stage.close()
        shutil.rmtree(folder)


# -- what scenes have in common ---------------------------------------------------------------


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


def start_relay_everywhere(stage: Stage) -> Played:
    """Play `relay --listen :3340` with ports that are free, STUN's too."""
    return stage.start(None, {":3340": ":0 --stun-port 0"})


def meet_at_a_relay_with_stun(stage: Stage) -> None:
    """Tell both machines of a relay that answers STUN, so that nobody waits for answers in vain."""
    words = ("relay", "--listen", "127.0.0.1:0", "--stun-port", "0")
    relay = stage.aside(stage.here, "derphole", *words)
    stage.variables["DERPHOLE_RELAY"] = relay.await_line(r"^relay ready: (\S+)")[1]
