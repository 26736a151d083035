"""What the built programs leave behind when a signal ends them: in a folder, in one file, under npm.

They are those that scripts/binary built, in dist/ or in the folder that DERPHOLE_FROZEN names.  The
signal goes to the process that was started, which for the one file is the one that unpacked it, and
for npm is Node.  The other side is this checkout's program.  Build again after changes.
"""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from desk import Desk, token_of
from faults import MIB, heeded_signals
from support.processes import OPTIONAL_SKIP, ROOT, Process, await_true, record_figure

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

DIST = Path(os.environ.get("DERPHOLE_FROZEN") or ROOT / "dist")
SIZE = 100 * MIB
UNDER_WAY = 2 * MIB
SLOW_CHUNK, SLOW_S = 1 << 16, 0.02  # 3 MiB/s
ENDED_S = 10.0  # until all have ended: a goodbye takes up to 3 s, and others load the machine
UNPACKED = "_MEI"  # how PyInstaller begins the name of the folder that one file is unpacked into


@dataclass(frozen=True)
class Form:
    """A way to start the program, and what it leaves when its first process is killed."""

    name: str
    command: list[str | Path]
    left_by_a_kill: str = ""  # how names of files begin that nobody is there to remove


@pytest.fixture(scope="module", params=["folder", "one file", "npm"])
def form(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Form:
    """One of the three; skips where it was not built."""
    folder, one_file = DIST / "derphole" / "derphole", DIST / "derphole-onefile"
    needed = one_file if request.param == "one file" else folder
    if not needed.exists():
        pytest.skip(f"{OPTIONAL_SKIP}not built: {needed}; scripts/binary builds it")
    if request.param == "folder":
        return Form("folder", [folder])
    if request.param == "one file":
        return Form("one file", [one_file], UNPACKED)
    node = shutil.which("node")
    if node is None:
        pytest.skip(f"{OPTIONAL_SKIP}not installed: node")
    work = tmp_path_factory.mktemp("npm")
    script = ROOT / "scripts" / "npm_packages.py"
    subprocess.run([sys.executable, script, work, folder.parent, "latest"], check=True)
    modules = work / "node_modules" / "@derphole"
    modules.mkdir(parents=True)
    (program,) = work.glob("cli-*")
    program.rename(modules / program.name)
    return Form("npm", [node, work / "derphole" / "bin" / "derphole.js"])


@dataclass(frozen=True)
class Ending:
    """A signal to the first process, or, as a terminal does at Ctrl-C, to all of the group."""

    number: signal.Signals
    code: int
    is_to_all: bool = False

    def send(self, process: Process) -> None:
        if self.is_to_all:
            os.killpg(process.pid, self.number)
        else:
            process.send_signal(self.number)


ENDINGS = {
    "SIGINT": Ending(signal.SIGINT, 130),
    "Ctrl-C": Ending(signal.SIGINT, 130, is_to_all=True),
    "SIGTERM": Ending(signal.SIGTERM, 143),
    "SIGKILL": Ending(signal.SIGKILL, -signal.SIGKILL),
}


class Scene:
    """Starts the form under test with folders of its own, and brings it to a stage."""

    def __init__(self, desk: Desk, form: Form, folder: Path) -> None:
        self.desk = desk
        self.form = form
        self.temporary = folder / "tmp"
        self.runtime = folder / "run"
        self.variables = {"TMPDIR": str(self.temporary), "XDG_RUNTIME_DIR": str(self.runtime)}
        self.temporary.mkdir()
        self.runtime.mkdir(mode=0o700)

    def start(self, *words: str, **streams: object) -> Process:
        command = [*self.form.command, *words]
        return self.desk.run(self.form.name, command, variables=self.variables, **streams)  # type: ignore[arg-type]

    def listen(self, start: Callable[..., Process], **streams: object) -> Process:
        words = ("listen", "--verbose", "--no-code", "--relay", self.desk.relay_url)
        return start(*words, **streams)

    def waits(self) -> Process:
        """A listener to which nobody has come."""
        process = self.listen(self.start)
        token_of(process)
        return process

    def serves(self) -> Process:
        """A tunnel's server, which has a socket that tells its status."""
        words = ("derptun", "serve", "--verbose", "--relay", self.desk.relay_url)
        process = self.start(*words, "--tcp", "127.0.0.1:9")
        await_true(lambda: any(path.is_socket() for path in self.runtime.rglob("*")), "a socket")
        return process

    def receives(self) -> Process:
        """A listener in the middle of a transfer that its reader slows down."""
        read_end, write_end = os.pipe()
        process = self.listen(self.start, stdout=write_end)
        os.close(write_end)
        self.transfer(process, read_end, self.desk.derphole)
        return process

    def sends(self) -> Process:
        """A sender in the middle of that."""
        read_end, write_end = os.pipe()
        listen = self.listen(lambda *words, **rest: self.desk.derphole("listen", *words, **rest),
                             stdout=write_end)  # fmt: skip
        os.close(write_end)
        return self.transfer(listen, read_end, lambda _, *words, **rest: self.start(*words, **rest))

    def transfer(self, listen: Process, read_end: int, pipe: Callable[..., Process]) -> Process:
        """Send a file of zeros until the first of it was read; returns the sender."""
        path = self.desk.folder / "zeros"
        with path.open("wb") as file:
            file.truncate(SIZE)
        token = token_of(listen)
        with path.open("rb") as file:
            process = pipe("pipe", "pipe", "--verbose", token, stdin=file)
        reader = SlowReader(read_end)
        self.desk.on_close(reader.close)
        await_true(lambda: reader.has_read >= UNDER_WAY, "bytes have come")
        assert reader.has_read < SIZE / 2
        return process


class SlowReader:
    """Reads a pipe slowly, until its end."""

    def __init__(self, read_end: int) -> None:
        self.has_read = 0
        self._read_end = read_end
        self._is_closed = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._is_closed.wait(SLOW_S):
            data = os.read(self._read_end, SLOW_CHUNK)
            if not data:
                break
            self.has_read += len(data)
        os.close(self._read_end)

    def close(self) -> None:
        self._is_closed.set()
        self._thread.join()


def of_session(leader: int) -> list[str]:
    """What lives in a session, but for the dead that nobody has collected."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = entry.read_text()
        except OSError:
            continue
        state, _, _, session = text.rpartition(")")[2].split()[:4]
        if int(session) == leader and state not in "ZX":
            found.append(text.rpartition(")")[0])
    return found


def end_session(leader: int) -> None:
    """End what a test that failed found alive."""
    if of_session(leader):
        with suppress(ProcessLookupError):
            os.killpg(leader, signal.SIGKILL)


def sockets_under(folder: Path) -> list[str]:
    """Unix sockets that are open under a folder, whether or not their files are there."""
    table = Path("/proc/net/unix").read_text().splitlines()
    return [line.split()[-1] for line in table if str(folder) in line]


@pytest.fixture(autouse=True)
def heeding() -> Iterator[None]:
    with heeded_signals():
        yield


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("stage", ["waits", "serves", "receives", "sends"])
def test_nothing_is_left(
    desk: Desk, form: Form, stage: str, ending: str, tmp_path: Path, is_full: bool
) -> None:
    is_killed = ending == "SIGKILL"
    if not is_full and (ending in ("SIGINT", "Ctrl-C") or stage in ("serves", "sends")):
        pytest.skip(f"{OPTIONAL_SKIP}runs with --full")
    scene = Scene(desk, form, tmp_path)
    process = getattr(scene, stage)()
    assert of_session(process.pid)
    desk.on_close(lambda: end_session(process.pid))

    began = time.monotonic()
    ENDINGS[ending].send(process)
    # A server that a person ends on purpose has not failed.
    code = 0 if stage == "serves" and not is_killed else ENDINGS[ending].code
    assert process.wait(ENDED_S) == code, process.story
    await_true(lambda: not of_session(process.pid), "all processes have ended", ENDED_S)
    took_s = time.monotonic() - began
    record_figure(f"{form.name}, {stage}, {ending}", f"{took_s:.2f} s", f"{ENDED_S:g} s")

    left = [path.name for path in scene.temporary.iterdir()]
    if is_killed and form.left_by_a_kill:
        assert len(left) == 1
        assert left[0].startswith(form.left_by_a_kill)
    else:
        assert left == []
    assert sockets_under(tmp_path) == []
    files = [path for path in scene.runtime.rglob("*") if path.is_socket()]
    assert len(files) == (stage == "serves" and is_killed and form.name == "folder")


def test_a_program_outlives_the_shell_that_started_it(
    desk: Desk, form: Form, tmp_path: Path
) -> None:
    """It ends with a process that only holds it, whatever number of one it has inherited."""
    scene = Scene(desk, form, tmp_path)
    in_background = ["sh", "-c", '"$@" & echo "started $!" >&2', "sh"]
    scene.form = Form(form.name, [*in_background, *form.command])
    scene.variables["DERPHOLE_SHIM"] = "1"
    process = scene.listen(scene.start)
    desk.on_close(lambda: end_session(process.pid))
    pid = int(process.await_line(r"^started (\d+)$").group(1))
    await_true(lambda: not process.is_running, "the shell has ended")
    token_of(process)
    assert of_session(process.pid)

    os.kill(pid, signal.SIGTERM)
    await_true(lambda: not of_session(process.pid), "all processes have ended", ENDED_S)
    process.ends_with(0, "^interrupted by SIGTERM$")
    assert list(scene.temporary.iterdir()) == []
