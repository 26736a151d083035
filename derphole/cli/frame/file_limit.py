"""The bound on open files: raised to what a server with many connections needs."""

import logging
from types import ModuleType

# Chosen: files that are open beside the connections.
SPARE_FILES = 64

_log = logging.getLogger(__name__)


def raise_file_limit(connections: int) -> None:
    """Let this process hold a file per connection, as far as the system allows."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    try:
        _raise(resource, connections + SPARE_FILES)
    except (OSError, ValueError) as error:  # a sandbox; the limit stays as it is
        _log.info("the limit of open files stays as it is: %s", error)


def _raise(resource: ModuleType, wanted: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))
