"""What is pure in scripts/packaging is found there."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[3] / "scripts" / "packaging"))
