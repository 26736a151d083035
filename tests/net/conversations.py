"""One side of a conversation as the product runs it, for peers that the tests speak for."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import gevent
import gevent.queue

from derphole import pipe
from derphole.config import NetworkOptions, RelayAddress
from derphole.edges.stdio import ByteSink, ByteSource
from derphole.errors import DerpholeError
from derphole.status import Report, Status, TokenIssued
from derphole.token.text import SessionToken, parse_token
from derphole.transfer_status import Receipt
from tunnel.crypto.keys import KeyPair
from tunnel.net.relay_server.limits import RelayLimits
from tunnel.net.relay_server.server import RelayServer

WAIT_S = 10.0


def ignore(status: Status) -> None:
    """Take a status and say nothing."""
    del status


@contextmanager
def relay_options() -> Iterator[NetworkOptions]:
    """Yield the settings that lead to a relay of their own."""
    keys = KeyPair.from_secret(b"\x29" * 32)
    relay = RelayServer(("127.0.0.1", 0), keys, None, None, RelayLimits(), "")
    relay.start()
    try:
        address = RelayAddress("127.0.0.1", relay.node.derp_port, tls=False)
        yield NetworkOptions(relay=address, timeout_s=WAIT_S)
    finally:
        relay.stop()


class Listening:
    """`listen` in a greenlet of its own, writing to a file.

    Attributes:
        tokens: gets its token.
        statuses: what it reported.
        greenlet: returns the receipt, or the error.
    """

    def __init__(self, options: NetworkOptions, path: os.PathLike[str]) -> None:
        self.tokens: gevent.queue.Queue[SessionToken] = gevent.queue.Queue()
        self.statuses: list[Status] = []
        self.path = path
        self._options = options
        self.greenlet = gevent.spawn(self._run)

    def _report(self, status: Status) -> None:
        self.statuses.append(status)
        if isinstance(status, TokenIssued):
            token = parse_token(status.text)
            assert isinstance(token, SessionToken)
            self.tokens.put(token)

    def _run(self) -> Receipt | DerpholeError:
        fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        try:
            sink = ByteSink(fd)
            return pipe.listen(self._options, expires_at=None, report=self._report, sink=sink)
        except DerpholeError as error:
            return error
        finally:
            os.close(fd)


class Piping:
    """`pipe` in a greenlet of its own, reading what `feed` and `end` write.

    Attributes:
        greenlet: returns the receipt, or the error.
    """

    def __init__(
        self, options: NetworkOptions, token: SessionToken, report: Report = ignore
    ) -> None:
        self._reader, self._writer = os.pipe()
        self._is_open = True
        self._options, self._token, self._report = options, token, report
        self.greenlet = gevent.spawn(self._run)

    def feed(self, data: bytes) -> None:
        """Give it bytes to send."""
        os.write(self._writer, data)

    def end(self) -> None:
        """End its input."""
        if self._is_open:
            self._is_open = False
            os.close(self._writer)

    def _run(self) -> Receipt | DerpholeError:
        try:
            source = ByteSource(self._reader)
            return pipe.pipe(self._options, self._token, report=self._report, source=source)
        except DerpholeError as error:
            return error
        finally:
            self.end()
            os.close(self._reader)
