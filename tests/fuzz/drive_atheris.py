"""Fuzzes one target with atheris (libFuzzer): python drive_atheris.py TARGET SECONDS SEED FOLDER

libFuzzer writes what it keeps to FOLDER/corpus and a breaking input to FOLDER/crash-*; its exit
code is 77 then.  The bounds of cost are looked at for a share of the inputs, with room for what the
instrumentation itself costs; `test_fuzz_regressions.py` looks at all kept ones without it.
"""

import dataclasses
import sys
from pathlib import Path

import atheris
from fuzzing import CORPUS, MAX_INPUT, VECTORS, check_cost, load

COST_EVERY = 256
INSTRUMENTED = 8  # times slower at most
MAX_RSS_MIB = 1024
HANG_S = 20


def main(name: str, seconds: str, seed: str, folder: str) -> None:
    """Fuzz one target; libFuzzer ends the process."""
    with atheris.instrument_imports(include=["tunnel", "derphole"], enable_loader_override=False):
        target = load(name)
    loose = dataclasses.replace(target, cpu_s=target.cpu_s * INSTRUMENTED)
    print(f"{name}: {target.invariant}", flush=True)
    count = 0

    def run(data: bytes) -> None:
        nonlocal count
        count += 1
        target.run(data)
        if count % COST_EVERY == 0:
            check_cost(loose, data)

    kept = Path(folder) / "corpus"
    kept.mkdir(parents=True, exist_ok=True)
    arguments = [sys.argv[0], f"-max_total_time={seconds}", f"-seed={seed}"]
    if target.words:  # libFuzzer refuses an empty dictionary
        words = Path(folder) / "words"
        words.write_text("".join(f'"{_escaped(word)}"\n' for word in target.words))
        arguments.append(f"-dict={words}")
    arguments += [f"-max_len={MAX_INPUT}", f"-rss_limit_mb={MAX_RSS_MIB}", f"-timeout={HANG_S}"]
    arguments += [f"-artifact_prefix={folder}/", str(kept)]
    arguments += [str(path / name) for path in (CORPUS, VECTORS) if (path / name).is_dir()]
    atheris.Setup(arguments, run)
    atheris.Fuzz()


def _escaped(word: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in word)


if __name__ == "__main__":
    main(*sys.argv[1:])
