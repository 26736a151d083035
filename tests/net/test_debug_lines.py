"""Log records and gevent's own messages become debug lines, and nothing prints on its own."""

import io
import logging

import gevent
import pytest

from derphole.cli.frame.logs import debug_lines
from derphole.cli.frame.output import Level, Output
from derphole.trace_bounds import KIND_PER_S

pytestmark = pytest.mark.net


def lines_of(level, **settings):
    """Log two records, fail in a greenlet, and return what went to standard error."""
    stream = io.StringIO()
    output = Output(None, stream, lambda: 0.0, level=level)
    with debug_lines(output, **settings):
        logging.getLogger("tunnel.net.relay_client.connection").debug("opened %d", 1)
        logging.getLogger("derphole.pipe").warning("slow")
        gevent.spawn(int, "no number").join()
    output.close()
    return stream.getvalue().splitlines()


def test_verbose_shows_records_and_names_what_failed():
    records, failure = lines_of(Level.VERBOSE)[:2], lines_of(Level.VERBOSE)[2:]

    assert records == ["tunnel.net.relay_client.connection: opened 1", "derphole.pipe: slow"]
    assert len(failure) == 1
    assert "failed with ValueError" in failure[0]


def test_a_developer_gets_the_traceback_of_a_greenlet():
    lines = lines_of(Level.VERBOSE, shows_tracebacks=True)

    assert any(line.startswith("Traceback") for line in lines)


@pytest.mark.parametrize("level", [Level.QUIET, Level.NORMAL])
def test_nothing_prints_below_verbose(level, capsys):
    assert lines_of(level) == []
    assert capsys.readouterr().err == ""


def test_afterwards_everything_is_as_before():
    stream = gevent.get_hub().exception_stream
    lines_of(Level.VERBOSE)

    assert gevent.get_hub().exception_stream is stream
    assert not logging.getLogger("tunnel").handlers


def test_lines_of_one_kind_are_thinned_and_the_others_are_not():
    stream = io.StringIO()
    output = Output(None, stream, lambda: 0.0, level=Level.VERBOSE)
    logger = logging.getLogger("tunnel.net.relay_server.server")

    def record(text, created, *args):
        made = logger.makeRecord(logger.name, logging.DEBUG, "", 0, text, args, None)
        made.created = created
        logger.handle(made)

    with debug_lines(output):
        for number in range(500):
            record("connection of %s ended", 7.5, number)
        record("too many", 7.5)
        record("too many", 8.0)
    output.close()
    lines = stream.getvalue().splitlines()

    kept = [
        line for line in lines if line.startswith("tunnel.net.relay_server.server: connection of ")
    ]
    assert kept[-1] == f"tunnel.net.relay_server.server: connection of {KIND_PER_S - 1} ended"
    assert lines[KIND_PER_S:] == [
        "tunnel.net.relay_server.server: too many",
        f"{500 - KIND_PER_S} more lines within a second were left out: tunnel.net.relay_server.server: "
        "connection of %s ended",
        "tunnel.net.relay_server.server: too many",
    ]
