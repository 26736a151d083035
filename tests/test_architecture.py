"""The tree keeps the rules of its layout, and the checker catches each fault."""

import graphlib
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from architecture import homeless, rooms, unused_permissions, violations

ROOT = Path(__file__).resolve().parent.parent
PATIENCE_S = 20

# (the fault, the file it is planted in, the text, what the checker says)
FAULTS = [
    ("tunnel imports derphole", "tunnel/net/a.py", "import derphole.token", "never import derphole"),
    ("inside a function too", "tunnel/net/a.py", "def f():\n    from derphole import token\n", "never import derphole"),
    ("wire imports crypto", "tunnel/wire/a.py", "from tunnel.crypto import keys", "imports upward"),
    ("crypto imports proto", "tunnel/crypto/a.py", "import tunnel.proto.link", "imports upward"),
    ("proto imports net", "tunnel/proto/a.py", "from tunnel.net.clock import wall", "imports upward"),
    ("errors import wire", "tunnel/errors.py", "import tunnel.wire.reader", "imports upward"),
    ("a conversation imports the cli", "derphole/pipe.py", "import derphole.cli.output", "imports upward"),
    ("a machine reads the clock", "tunnel/proto/a.py", "import time", "below the I/O line"),
    ("a machine draws randomness", "tunnel/proto/a.py", "from secrets import token_bytes", "below the I/O line"),
    ("a codec opens sockets", "tunnel/wire/a.py", "import socket", "below the I/O line"),
    ("keys come from os", "tunnel/crypto/a.py", "from os import urandom", "below the I/O line"),
    ("a machine yields", "tunnel/proto/a.py", "from gevent.event import Event", "below the I/O line"),
    ("a pure module does I/O", "derphole/token/admission.py", "import gevent", "below the I/O line"),
    ("a pure module uses an impure one", "derphole/speech/turns.py", "from derphole.speech import control", "below the I/O line"),
    ("a pure module uses the blocking layer", "derphole/token/grant.py", "import tunnel.net.clock", "below the I/O line"),
    ("a pure module deep in a package", "derphole/derptun/keeper.py", "import random", "below the I/O line"),
    ("a pure module asks for the date", "derphole/token/typed_times.py", "import datetime\nx = datetime.datetime.now()", "below the I/O line"),
    ("a machine opens a file", "tunnel/proto/a.py", "x = open('y')", "below the I/O line"),
    ("a claim that nobody checks", "derphole/pipe.py", '"""Moves bytes.  Pure."""', "nothing checks it"),
    ("a name of yesterday", "tunnel/net/a.py", "# see `tunnel.net.gone`", "there is no tunnel.net.gone"),
    ("a codec imports a codec", "tunnel/wire/a.py", "from tunnel.wire.derp import MAGIC", "imports another"),
    ("a package root imports", "tunnel/wire/__init__.py", "import tunnel.wire.reader", "imports nothing"),
    ("a door imports another package", "derphole/errors/__init__.py", "import tunnel.errors", "imports nothing"),
    ("a library prints", "derphole/pipe.py", "print('hello')", "only the cli package prints"),
    ("print in disguise", "tunnel/net/a.py", "say = print", "only the cli package prints"),
    ("a relative import", "tunnel/net/a.py", "from . import clock", "relative import"),
    ("monkey patching", "derphole/cli/main.py", "from gevent.monkey import patch_all", "monkey patching"),
    ("the product imports its tests", "derphole/pipe.py", "import tests.conftest", "never imports tests"),
    ("a room imports one above", "tunnel/proto/paths/a.py", "import tunnel.proto.link.sender", "may not import 'link'"),
    ("a room imports one beside", "tunnel/net/relay_server/a.py", "import tunnel.net.relay_client.tls", "may not import"),
    ("the ground imports a room", "derphole/status.py", "from derphole.speech import turns", "may not import 'speech'"),
    ("a late import too", "derphole/network/a.py", "def f():\n    from derphole import pipe\n", "may not import 'pipe'"),
    ("derphole reaches through", "derphole/pipe.py", "def f(link):\n    return link.machine.counters\n", "reaches into"),
    ("a long module", "tunnel/net/a.py", "x = 1\n" * 601, "over 600"),
    ("a long test", "tests/unit/test_a.py", "x = 1\n" * 801, "over 800"),
]  # fmt: skip


def plant(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_the_tree_keeps_its_rules():
    assert violations(ROOT) == []


def test_every_module_has_a_room_and_every_permission_is_used():
    assert homeless(ROOT) == []
    assert unused_permissions(ROOT) == []


def test_the_table_of_rooms_has_no_circle():
    graph = {room.name: room.may_import for room in rooms().values()}

    assert set().union(*graph.values()) <= set(graph)
    list(graphlib.TopologicalSorter(graph).static_order())


def test_no_two_files_of_tests_have_one_name():
    """Pytest takes the second for the first, and the whole run ends before its first test."""
    names = Counter(path.name for path in (ROOT / "tests").rglob("test_*.py"))

    assert [name for name, count in names.items() if count > 1] == []


def test_a_module_without_a_room_is_noticed(tmp_path):
    files = {"tunnel/proto/stray.py": "", "derphole/stray.py": "", "tunnel/wire/fine.py": ""}

    assert homeless(plant(tmp_path, files)) == ["tunnel.proto.stray", "derphole.stray"]


@pytest.mark.parametrize(
    ("file", "text", "expected"),
    [fault[1:] for fault in FAULTS],
    ids=[fault[0].replace(" ", "-") for fault in FAULTS],
)
def test_a_planted_fault_is_caught(tmp_path, file, text, expected):
    [sentence] = violations(plant(tmp_path, {file: text}))

    assert expected in sentence


def test_a_cycle_within_a_height_is_caught(tmp_path):
    files = {
        "tunnel/proto/a.py": "from tunnel.proto import b",
        "tunnel/proto/b.py": "from tunnel.proto.c import thing",
        "tunnel/proto/c.py": "def f():\n    import tunnel.proto.a",
    }
    [sentence] = violations(plant(tmp_path, files))

    assert "import cycle" in sentence
    assert all(f"tunnel.proto.{name}" in sentence for name in "abc")


def test_what_the_rules_allow_is_left_alone(tmp_path):
    files = {
        "tunnel/errors.py": "",
        "tunnel/wire/__init__.py": '"""Nothing."""',
        "tunnel/wire/reader.py": "from tunnel.errors import DecodeError",
        "tunnel/wire/derp.py": "from tunnel.wire.reader import Reader\nimport enum",
        "tunnel/proto/link.py": "import tunnel.wire.derp, tunnel.crypto.keys",
        "tunnel/net/link.py": "import time, socket, gevent, os\nfrom tunnel.proto import link",
        "derphole/__init__.py": "__version__ = '1'",
        "derphole/errors.py": "",
        "derphole/token/text.py": '"""Pure."""\nimport derphole.errors, tunnel.wire.reader, base64',
        "derphole/pipe.py": "import os\nfrom derphole.token import text\nfrom tunnel.net import link",
        "derphole/cli/commands/pipe.py": "from derphole import pipe\nprint(pipe)",
    }
    assert violations(plant(tmp_path, files)) == []


def test_importing_the_command_line_loads_neither_gevent_nor_docopt():
    # `version` must answer before the interpreter has read a megabyte of modules.
    program = "import sys, derphole.cli.invocation; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S, check=True
    )  # fmt: skip
    loaded = {name.rpartition("vendored.")[2].partition(".")[0] for name in done.stdout.split()}

    assert loaded & {"gevent", "greenlet", "docopt", "nacl", "netifaces", "xxhash"} == set()
