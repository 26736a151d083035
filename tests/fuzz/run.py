"""The command behind scripts/fuzz; see there."""

import argparse
import importlib.util
import subprocess
import sys
from pathlib import Path

from fuzzing import CORPUS, FOLDER, ROOT, check_cost, load, names

WORK = ROOT / ".build" / "fuzz"


def main() -> int:
    """Do what the command line asks for; return the exit code."""
    arguments = _arguments()
    if arguments.list:
        for name in names():
            print(f"{name:16} {load(name).invariant}")
        return 0
    chosen = arguments.target or names()
    unknown = sorted(set(chosen) - set(names()))
    if unknown:
        print(f"fuzz: no target is called {', '.join(unknown)}; see --list", file=sys.stderr)
        return 2
    if arguments.seeds:
        return _write_seeds(chosen)
    if arguments.replay:
        return _replay(chosen, arguments.replay)
    broken = [name for name in chosen if not _fuzz(name, arguments)]
    for name in broken:
        print(f"fuzz: {name} is broken; see {WORK.relative_to(ROOT) / name}/crash-*")
        print(f"      copy the file to tests/fuzz/vectors/{name}/ and repair what it breaks")
    print(f"fuzz: {len(chosen) - len(broken)} of {len(chosen)} targets held")
    return 1 if broken else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/fuzz", add_help=False)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--driver", choices=("atheris", "own"))
    parser.add_argument("--replay", type=Path)
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--seeds", action="store_true")
    parser.add_argument("target", nargs="*")
    return parser.parse_args()


def _fuzz(name: str, arguments: argparse.Namespace) -> bool:
    """Fuzz one target in a process of its own; return whether its invariant held."""
    driver = arguments.driver or ("atheris" if importlib.util.find_spec("atheris") else "own")
    folder = WORK / name
    folder.mkdir(parents=True, exist_ok=True)
    seconds = f"{arguments.seconds:g}" if driver == "own" else f"{arguments.seconds:.0f}"
    command = [sys.executable, FOLDER / f"drive_{driver}.py", name, seconds, arguments.seed, folder]
    return subprocess.run([str(part) for part in command], cwd=ROOT, check=False).returncode == 0


def _write_seeds(chosen: list[str]) -> int:
    """Write the inputs that the encoders make into the corpus."""
    for name in chosen:
        folder = CORPUS / name
        folder.mkdir(parents=True, exist_ok=True)
        for stale in folder.glob("seed-*"):
            stale.unlink()
        for number, data in enumerate(load(name).seeds()):
            (folder / f"seed-{number:02}").write_bytes(data)
    return 0


def _replay(chosen: list[str], path: Path) -> int:
    """Run targets on one file, and let what they raise be seen."""
    for name in chosen:
        target = load(name)
        target.run(path.read_bytes())
        check_cost(target, path.read_bytes())
        print(f"fuzz: {name} holds for {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
