"""The soak lives in scripts/, and takes the kinds of NAT from the lab."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
sys.path += [str(ROOT / "scripts"), str(ROOT / "tests" / "natlab")]
