"""Fixtures of the interoperability tests: the Go tools and servers, each started once a run."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from interop_go import GoTools, build_go_tools
from interop_servers import RelayServer, derper_server


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave Headscale to full runs: building it takes minutes of processor time."""
    is_cut = not config.getoption("--full")
    return True if is_cut and collection_path.name == "test_headscale.py" else None


@pytest.fixture(scope="session")
def go_tools() -> GoTools:
    return build_go_tools()


@pytest.fixture(scope="session")
def derper_plain(
    go_tools: GoTools, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RelayServer]:
    private = tmp_path_factory.mktemp("derper-plain")
    with derper_server(go_tools.derper, private, tls=False) as server:
        yield server


@pytest.fixture(scope="session")
def derper_tls(
    go_tools: GoTools, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RelayServer]:
    private = tmp_path_factory.mktemp("derper-tls")
    with derper_server(go_tools.derper, private, tls=True) as server:
        yield server


@pytest.fixture(params=["plain", "tls"])
def derper(request: pytest.FixtureRequest) -> RelayServer:
    """Both servers in turn."""
    server: RelayServer = request.getfixturevalue(f"derper_{request.param}")
    return server
