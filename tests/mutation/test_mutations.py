"""Every security check is missed by a test when it is gone.

Each mutation is made in a copy of the two packages that stands first on the import path; the tests
themselves stay where they are.  Only failing tests count: an error while they are collected, or
tests that all pass, fails here.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from mutations import MUTATIONS

ROOT = Path(__file__).parent.parent.parent
PACKAGES = ("tunnel", "derphole")
TESTS_FAILED = 1  # pytest's exit code for it; 2 and above mean that it did not get so far
LIMIT_S = 120.0  # for all the named tests together; a mutation's own take a few seconds

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(2 * LIMIT_S),
    pytest.mark.alongside("computes"),
]


@pytest.fixture
def copy(tmp_path):
    """Copy both packages."""
    for package in PACKAGES:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / package, tmp_path / package, ignore=ignored)
    return tmp_path


def run(copy, *arguments):
    """Run Python with the copy's packages; its folder is the current one, hence searched first."""
    environment = {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=copy,
        env=environment,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )


def run_tests(copy, tests):
    paths = [str(ROOT / test) if test.startswith("tests/") else test for test in tests]
    options = ["-x", "-q", "--no-header", "-p", "no:cacheprovider", f"--rootdir={ROOT}"]
    return run(copy, "-m", "pytest", *options, "-c", str(ROOT / "setup.cfg"), *paths)


def test_the_copy_is_what_the_tests_import(copy):
    program = "import tunnel, derphole; print(tunnel.__file__); print(derphole.__file__)"

    places = run(copy, "-c", program).stdout.splitlines()

    assert places == [str(copy / package / "__init__.py") for package in PACKAGES]


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
@pytest.mark.alongside("computes")
def test_a_check_that_is_gone_is_missed(copy, mutation):
    module = copy / mutation.path
    source = module.read_text()
    count = source.count(mutation.text)
    assert count == 1, (
        f"{mutation.path} holds the check {count} times, not once; if it was rewritten, say in "
        "tests/mutation/mutations.py how it is undone now"
    )

    module.write_text(source.replace(mutation.text, mutation.replacement))
    result = run_tests(copy, mutation.tests)

    assert result.returncode == TESTS_FAILED, (
        f"without the check that {mutation.name}, no test of {' '.join(mutation.tests)} failed:\n"
        f"{result.stdout[-2000:]}{result.stderr[-2000:]}"
    )


@pytest.mark.alongside("computes")
def test_the_named_tests_pass_while_every_check_stands(copy):
    by_files = sorted({test for m in MUTATIONS for test in m.tests if test.startswith("tests/")})

    result = run_tests(copy, by_files)

    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-2000:]
