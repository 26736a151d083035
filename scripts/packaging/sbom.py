"""Usage: sbom.py PYTHON TREE VERSION > derphole.cdx.json

Prints the bill of materials of a frozen program as CycloneDX 1.6: the Python packages as
cyclonedx-py finds them in the environment of the interpreter PYTHON, less those that are not in the
program, and the libraries in C that no package tells of, with the digests of their files.

Run by a Python that has cyclonedx-bom, whose validator has the last word.
"""

import datetime
import hashlib
import json
import os
import subprocess
import sys
import uuid
from pathlib import Path

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

HERE = Path(__file__).resolve().parent
SPEC_VERSION = "1.6"
# Run in the frozen environment, whose packages and libraries are asked for their versions.
ASK = """
import json, sys
from pathlib import Path
import components

tree = Path(sys.argv[1])
print(json.dumps({
    "packages": [each.name for each in components.packages()],
    "libraries": [
        {"name": each.name, "licence": each.licence, "version": each.version(),
         "owner": each.owner, "files": [str(path) for path in files]}
        for each, files in components.libraries(tree)
    ],
}))
"""


def run(*command: str | Path) -> str:
    """Run a program in the folder of this script; returns what it prints."""
    environment = {**os.environ, "PYTHONPATH": str(HERE)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{command[0]} failed:\n{done.stderr}")
    return done.stdout


def of_environment(python: Path, wanted: set[str]) -> list[dict[str, object]]:
    """Return the Python packages as cyclonedx-py describes them."""
    command = [sys.executable, "-m", "cyclonedx_py", "environment", "--output-reproducible"]
    text = run(*command, "--spec-version", SPEC_VERSION, "--output-format", "JSON", python)
    found = json.loads(text)["components"]
    kept = [each for each in found if canonical(each["name"]) in wanted]
    missing = wanted - {canonical(each["name"]) for each in kept}
    if missing:
        sys.exit(f"cyclonedx-py does not tell of {', '.join(sorted(missing))}")
    for each in kept:  # where it was fetched from says nothing of what it is
        each.pop("externalReferences", None)
        each.pop("properties", None)
    return kept


def canonical(name: str) -> str:
    """Return the name of a package in the one form that all its spellings share."""
    return name.lower().replace("_", "-").replace(".", "-")


def of_library(library: dict[str, object], tree: Path) -> dict[str, object]:
    """Describe a library in C."""
    name, version = str(library["name"]), str(library["version"])
    component: dict[str, object] = {
        "type": "library",
        "bom-ref": f"library:{name}",
        "name": name,
        "licenses": [{"expression": library["licence"]}],
    }
    if version:
        component["version"] = version
    if library["owner"]:
        component["description"] = f"linked into extension modules of {library['owner']}"
    component["components"] = [
        {
            "type": "file",
            "bom-ref": f"file:{name}:{Path(file).relative_to(tree).as_posix()}",
            "name": Path(file).relative_to(tree).as_posix(),
            "hashes": [
                {"alg": "SHA-256", "content": hashlib.sha256(Path(file).read_bytes()).hexdigest()}
            ],
        }
        for file in library["files"]
    ]
    return component


def vendored() -> dict[str, object]:
    """Describe what lies in the tree of derphole itself."""
    return {
        "type": "library",
        "bom-ref": "docopt==0.6.2",
        "name": "docopt",
        "version": "0.6.2",
        "purl": "pkg:pypi/docopt@0.6.2",
        "description": "vendored with raw strings for four patterns",
        "licenses": [{"license": {"id": "MIT"}}],
    }


def document(python: Path, tree: Path, version: str) -> str:
    """Return the whole bill as text."""
    asked = json.loads(run(python, "-c", ASK, tree))
    packages = of_environment(python, {canonical(name) for name in asked["packages"]})
    libraries = [of_library(library, tree) for library in asked["libraries"]]
    components = sorted([*packages, vendored(), *libraries], key=lambda each: str(each["bom-ref"]))
    stamp = datetime.datetime.fromtimestamp(int(os.environ["SOURCE_DATE_EPOCH"]), datetime.UTC)
    main = {
        "type": "application",
        "bom-ref": "derphole",
        "name": "derphole",
        "version": version,
        "licenses": [{"license": {"id": "BSD-3-Clause"}}],
    }
    digest = hashlib.sha256(json.dumps(components, sort_keys=True).encode()).hexdigest()
    bill = {
        "$schema": f"http://cyclonedx.org/schema/bom-{SPEC_VERSION}.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": SPEC_VERSION,
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, digest)}",
        "version": 1,
        "metadata": {"timestamp": stamp.isoformat(), "component": main},
        "components": components,
        "dependencies": [
            {"ref": "derphole", "dependsOn": [str(each["bom-ref"]) for each in components]}
        ],
    }
    text = json.dumps(bill, indent=2, ensure_ascii=False) + "\n"
    fault = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    if fault is not None:
        sys.exit(f"the bill of materials is no good one: {fault!r}")
    return text


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    sys.stdout.write(document(Path(sys.argv[1]).absolute(), Path(sys.argv[2]), sys.argv[3]))
