"""Manual pages and completions in build/share are what the usage texts say, and are read cleanly."""

import importlib.util
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SHARE = ROOT / "build" / "share"


def script():
    spec = importlib.util.spec_from_file_location("pages", ROOT / "scripts" / "manual_pages.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_what_is_there_is_what_the_script_writes():
    wanted = dict(script().files())
    there = {str(path.relative_to(SHARE)) for path in SHARE.rglob("*") if path.is_file()}
    assert there == wanted.keys()
    for name, text in wanted.items():
        assert (SHARE / name).read_text() == text, (
            f"{name}: run .venv/bin/python scripts/manual_pages.py"
        )


@pytest.mark.parametrize("page", sorted(SHARE.glob("man/man1/*.1")), ids=lambda page: page.name)
def test_a_page_is_read_without_a_warning(page):
    if shutil.which("groff") is None:
        pytest.skip("optional: not installed: groff")
    done = subprocess.run(
        ["groff", "-man", "-Tutf8", "-ww", page], capture_output=True, text=True, check=True
    )
    assert not done.stderr
    assert "SYNOPSIS" in re.sub(".\b", "", done.stdout)  # without overstriking


def test_text_is_never_taken_for_a_request():
    plain = script().plain
    assert plain(".so /etc/passwd") == "\\&.so /etc/passwd"
    assert plain("'x") == "\\&'x"
    assert plain("a\\b") == "a\\eb"
    assert plain("--x") == "\\-\\-x"
