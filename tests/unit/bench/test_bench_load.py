"""What keeps the machine busy beside a measurement runs as long as that, and not longer."""

import os
from pathlib import Path

import pytest
from load import Load


def children():
    """Return the process ids of our children."""
    return set(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc")
def test_every_loop_runs_and_ends_with_the_measurement():
    before = children()
    with Load(busy=2, builds=1).running():
        assert len(children() - before) == 3
    assert children() - before == set()


@pytest.mark.parametrize(
    ("load", "words"),
    [
        (Load(), "nothing"),
        (Load(builds=8), "8 loops of short programs"),
        (Load(busy=16, is_mixed=True), "16 busy loops and the mixed load"),
    ],
)
def test_a_table_says_what_ran_beside_it(load, words):
    assert load.words() == words


def test_the_mixed_load_says_what_it_lacks(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    assert "go" in Load(is_mixed=True).lacks()
    assert Load(builds=1).lacks() == ""
