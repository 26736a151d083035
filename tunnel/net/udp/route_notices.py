"""The kernel's notices of changes of interfaces, addresses and routes, so that nobody has to look.

    Linux       a netlink socket in the groups of links, addresses, routes and rules
    elsewhere   none: whoever wants to know looks every so often

What a notice says is not read: it only means that a look is worth while.  Notices that did not fit
into the socket's buffer are reported by the kernel as an error, which is a notice as well.
Source: rtnetlink(7), netlink(7).
"""

import errno
import sys

from gevent import get_hub, socket
from gevent.hub import Waiter

from tunnel.units import Seconds

# Fixed by Linux: NETLINK_ROUTE and RTMGRP_* (a bit for each group below 32).
_ROUTE_FAMILY = 0
_LINKS = 0x1
_IPV4_ADDRESSES, _IPV4_ROUTES, _IPV4_RULES = 0x10, 0x40, 0x80
_IPV6_ADDRESSES, _IPV6_ROUTES, _IPV6_RULES = 0x100, 0x400, 1 << 18
_GROUPS = (
    _LINKS | _IPV4_ADDRESSES | _IPV4_ROUTES | _IPV4_RULES
    | _IPV6_ADDRESSES | _IPV6_ROUTES | _IPV6_RULES
)  # fmt: skip
_READABLE = 1
# Chosen: notices are read to be thrown away.
_READ_SIZE = 8192
MAX_READS = 256  # of one `take`; who changes that much that fast is looked at again soon


class RouteNotices:
    """A socket that becomes readable when something about the network changes.

    Raises `OSError` where the system has none, or none to spare just now.
    """

    def __init__(self) -> None:
        if not sys.platform.startswith("linux"):
            raise OSError(errno.EOPNOTSUPP, "this system sends no notices")
        self._socket = socket._socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _ROUTE_FAMILY)  # noqa: SLF001 - the plain one: it is waited for by a watcher
        try:
            self._socket.setblocking(False)
            self._socket.bind((0, _GROUPS))
        except OSError:
            self._socket.close()
            raise
        self._watcher = get_hub().loop.io(self._socket.fileno(), _READABLE)

    def wait(self, timeout_s: Seconds) -> bool:
        """Wait for a notice; returns False after `timeout_s`."""
        # A timer beside the watcher: an idle process does this again and again, and an exception
        # each time that nothing came would be most of what it does.
        waiter: Waiter[bool] = Waiter()
        timer = get_hub().loop.timer(timeout_s)
        self._watcher.start(waiter.switch, True)
        timer.start(waiter.switch, False)
        try:
            is_told = waiter.get()
        finally:
            self._watcher.stop()
            timer.close()
        return is_told and self.take()

    def take(self) -> bool:
        """Throw away the notices that came; returns whether there were any."""
        for turn in range(MAX_READS):
            try:
                self._socket.recv(_READ_SIZE)
            except BlockingIOError:
                return turn > 0
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
        return True

    def close(self) -> None:
        """Let go of the socket."""
        self._watcher.close()
        self._socket.close()
