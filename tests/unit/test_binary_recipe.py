"""What the recipe of the frozen programs leaves out and strips on each system."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

RECIPE = Path(__file__).resolve().parents[2] / "derphole.spec"
LOOP_OF_WINDOWS = {"gevent._ffi", "gevent.libuv"}


class Recorder:
    """Stands for PyInstaller's names, and keeps what they are called with."""

    def __init__(self):
        self.calls = []

    def __call__(self, *args, **options):
        self.calls.append(options)
        return SimpleNamespace(scripts=[], pure=[], binaries=[], datas=[])


@pytest.fixture
def followed(monkeypatch):
    """Return a function that follows the recipe as on a system; it returns excludes and strips."""

    def follow(system):
        monkeypatch.setattr(sys, "platform", system)
        names = {name: Recorder() for name in ("Analysis", "PYZ", "EXE", "COLLECT")}
        exec(compile(RECIPE.read_text(), RECIPE, "exec"), names)  # noqa: S102 - as PyInstaller does
        return set(names["Analysis"].calls[0]["excludes"]), {
            options["strip"] for name in ("EXE", "COLLECT") for options in names[name].calls
        }

    return follow


@pytest.mark.parametrize("system", ["linux", "darwin"])
def test_the_loop_of_windows_is_left_out_elsewhere(followed, system):
    excludes, _ = followed(system)
    assert excludes >= LOOP_OF_WINDOWS


def test_windows_keeps_the_only_loop_that_it_has(followed):
    excludes, _ = followed("win32")
    assert excludes.isdisjoint(LOOP_OF_WINDOWS)
    assert excludes == followed("linux")[0] - LOOP_OF_WINDOWS


@pytest.mark.parametrize("system", ["linux", "darwin", "win32"])
def test_symbols_are_stripped_on_linux_alone(followed, system):
    assert followed(system)[1] == {system == "linux"}
