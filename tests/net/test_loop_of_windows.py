"""What touches descriptors and sockets itself does so with libuv too, gevent's loop on Windows.

It runs here on the system of the tests: what Windows itself does differently is not seen by this.
"""

import os
import subprocess
import sys
from pathlib import Path

import gevent
import pytest

from derphole.edges.stdio import ByteSink, ByteSource

ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 50
RUN = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider"]


@pytest.mark.parametrize("name", ["test_stdio.py", "test_udp_lane.py"])
def test_the_loop_of_windows_does_all_that_the_usual_one_does(name):
    done = subprocess.run(
        [*RUN, ROOT / "tests" / "net" / name],
        cwd=ROOT,
        env={**os.environ, "GEVENT_LOOP": "libuv-cffi"},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_nothing_is_lost_where_there_is_no_call_for_many_pieces(monkeypatch):
    monkeypatch.delattr(os, "writev")
    monkeypatch.setattr(sys, "platform", "win32")
    pieces = [bytes([number]) * (number * 37 + 1) for number in range(200)]
    read_end, write_end = os.pipe()
    source, sink = ByteSource(read_end), ByteSink(write_end)
    found = bytearray()

    def read_all():
        while data := source.read():
            found.extend(data)

    reader = gevent.spawn(read_all)
    sink.write(pieces)
    sink.close()
    os.close(write_end)
    reader.join(LIMIT_S)
    source.close()
    os.close(read_end)

    assert found == b"".join(pieces)
    assert sink.bytes_written == len(found)
