"""What is pure in scripts/hosts_lib is found there, and what that takes from the tests here."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
sys.path += [str(ROOT / "scripts"), str(ROOT / "tests")]
