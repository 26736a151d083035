"""Fixtures of the interoperability tests: the Go tools and servers, each started once a run."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from interop_go import DERPERS, DerperVersion, build_derper, build_go_client
from interop_servers import RelayServer, derper_server

# The lab of network namespaces, for lines with a rate.
sys.path.append(str(Path(__file__).parents[1] / "natlab"))


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave Headscale to full runs: building it takes minutes of processor time."""
    is_cut = not config.getoption("--full")
    return True if is_cut and collection_path.name == "test_headscale.py" else None


@pytest.fixture(scope="session")
def go_client() -> Path:
    return build_go_client()


@pytest.fixture(scope="session", params=DERPERS, ids=lambda version: version.number)
def derper_version(request: pytest.FixtureRequest) -> DerperVersion:
    """Every version in turn."""
    version: DerperVersion = request.param
    return version


@pytest.fixture(scope="session")
def derper_program(derper_version: DerperVersion) -> Path:
    return build_derper(derper_version)


@pytest.fixture(scope="session")
def derper_plain(
    derper_program: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RelayServer]:
    private = tmp_path_factory.mktemp("derper-plain")
    with derper_server(derper_program, private, tls=False) as server:
        yield server


@pytest.fixture(scope="session")
def derper_tls(
    derper_program: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RelayServer]:
    private = tmp_path_factory.mktemp("derper-tls")
    with derper_server(derper_program, private, tls=True) as server:
        yield server


@pytest.fixture(params=["plain", "tls"])
def derper(request: pytest.FixtureRequest, derper_program: Path) -> RelayServer:
    """Both servers in turn."""
    server: RelayServer = request.getfixturevalue(f"derper_{request.param}")
    return server
