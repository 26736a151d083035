"""The bound on open files: raised to what a server with many connections needs."""

# Chosen: files that are open beside the connections.
SPARE_FILES = 64


def raise_file_limit(connections: int) -> None:
    """Let this process hold a file per connection, as far as the system allows."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    wanted = connections + SPARE_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))
