"""The HTTP requests that mapping a port by UPnP takes, one class for each.

    Describe     GET the description of a device
    AskAddress   GetExternalIPAddress of one of its services
    Add          AddPortMapping, or AddAnyPortMapping
    Delete       DeletePortMapping

Only the last two change anything at the gateway.  Source: WANIPConnection:1 and :2.  This module
knows no sockets, and not when which of them is made.
"""

from tunnel.values import frozen
from tunnel.wire import igd


@frozen
class HttpRequest:
    """A request to carry out; `data` is all of it, `number` names it in the answer."""

    number: int
    host: str
    port: int
    data: bytes


@frozen
class Describe:
    """Read a description."""

    location: igd.Url

    def request(self, number: int) -> HttpRequest:
        """Return the request under a number."""
        return _to(self.location, number, igd.encode_get(self.location))


@frozen
class AskAddress:
    """Ask a service for the gateway's external address."""

    service: igd.Service

    def request(self, number: int) -> HttpRequest:
        """Return the request under a number."""
        data = igd.encode_external_address_call(self.service)
        return _to(self.service.control, number, data)


@frozen
class Add:
    """Have a port mapped; with `any_port` the service may choose another one."""

    service: igd.Service
    mapping: igd.PortMapping
    any_port: bool

    def request(self, number: int) -> HttpRequest:
        """Return the request under a number."""
        data = igd.encode_add_call(self.service, self.mapping, any_port=self.any_port)
        return _to(self.service.control, number, data)


@frozen
class Delete:
    """Give a port back."""

    service: igd.Service
    external_port: int

    def request(self, number: int) -> HttpRequest:
        """Return the request under a number."""
        data = igd.encode_delete_call(self.service, self.external_port)
        return _to(self.service.control, number, data)


Step = Describe | AskAddress | Add | Delete


def _to(url: igd.Url, number: int, data: bytes) -> HttpRequest:
    return HttpRequest(number, url.host, url.port, data)
