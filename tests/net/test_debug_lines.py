"""Log records and gevent's own messages become debug lines, and nothing prints on its own."""

import io
import logging

import gevent
import pytest

from derphole.cli.logs import debug_lines
from derphole.cli.output import Level, Output

pytestmark = pytest.mark.net


def lines_of(level, **settings):
    """Log two records, fail in a greenlet, and return what went to standard error."""
    stream = io.StringIO()
    output = Output(None, stream, lambda: 0.0, level=level)
    with debug_lines(output, **settings):
        logging.getLogger("tunnel.net.relay").debug("opened %d", 1)
        logging.getLogger("derphole.pipe").warning("slow")
        gevent.spawn(int, "no number").join()
    output.close()
    return stream.getvalue().splitlines()


def test_verbose_shows_records_and_names_what_failed():
    records, failure = lines_of(Level.VERBOSE)[:2], lines_of(Level.VERBOSE)[2:]

    assert records == ["tunnel.net.relay: opened 1", "derphole.pipe: slow"]
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
