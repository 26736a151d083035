"""What is pure in scripts/benchmarks is found there."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[3] / "scripts" / "benchmarks"))
