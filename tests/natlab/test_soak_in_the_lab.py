"""A while of scripts/soak: it plays, judges and tells, and its episodes are as they must be."""

import re
import subprocess
import sys

import pytest
from support.processes import ROOT

MINUTES = 0.6  # two episodes and more
FULL_MINUTES = 5
SEED = 3
# The last episode may begin in the last second, on a busy machine, and wait for much.
LIMIT_S = 300


@pytest.mark.timeout(2 * LIMIT_S + 60 * FULL_MINUTES)
def test_a_while_of_soak_is_clean(is_full):
    minutes = FULL_MINUTES if is_full else MINUTES
    command = [sys.executable, "scripts/soak_lib/run.py", "--minutes", minutes, "--seed", SEED]
    done = subprocess.run(
        [str(part) for part in command],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=LIMIT_S + 60 * minutes,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    episodes = re.findall(rf"^{SEED}/(\d+) ok, recovery \d+\.\d\d s", done.stdout, re.MULTILINE)
    assert episodes == [str(number) for number in range(1, len(episodes) + 1)]
    assert len(episodes) >= 2
    assert (
        done.stdout.splitlines()[-1]
        == f"{len(episodes)} of {len(episodes)} episodes as they must be"
    )


@pytest.mark.timeout(LIMIT_S)
def test_an_episode_is_played_again_alone():
    command = [sys.executable, "scripts/soak_lib/run.py", "--seed", str(SEED), "--episode", "2"]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_S, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith(f"{SEED}/2 ok")
    assert done.stdout.splitlines()[-1] == "1 of 1 episodes as they must be"
