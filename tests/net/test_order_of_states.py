"""The states of a link in their order, however late the command comes to tell of it."""

import gevent
from conversations import WAIT_S, relay_options

from derphole.rendezvous.claimer import ClaimerRendezvous
from derphole.rendezvous.issuer import IssuerRendezvous
from derphole.status import PathTaken, State, StateChanged
from derphole.token.grant import Capability
from derphole.token.text import parse_token
from tunnel.net.endpoint import LinkTold
from tunnel.proto.link.events import PathChanged
from tunnel.proto.machine import UdpEndpoint


def states(told):
    return [status.word for status in told if isinstance(status, StateChanged)]


def paths(told):
    return [status.is_direct for status in told if isinstance(status, PathTaken)]


def test_a_link_that_is_direct_before_it_is_told_of_was_on_the_relay_first():
    told = []
    with (
        gevent.Timeout(4 * WAIT_S),
        relay_options() as options,
        IssuerRendezvous(options, told.append, Capability.LISTEN, None) as issuer,
        ClaimerRendezvous(options, lambda status: None, parse_token(issuer.issue())) as claimer,
    ):
        claimer.claim("the other side")
        link = issuer.wait_link("the other side")
        while link.direct_path is None:
            gevent.sleep(0.01)
        assert states(told) == []

        issuer.report_path(link)

        assert states(told) == [State.CONNECTED_RELAY, State.CONNECTED_DIRECT]
        assert paths(told) == [False, True]


def test_a_path_is_told_once_and_nothing_after_the_end():
    told = []
    with (
        gevent.Timeout(4 * WAIT_S),
        relay_options() as options,
        IssuerRendezvous(options, told.append, Capability.LISTEN, None) as issuer,
        ClaimerRendezvous(options, lambda status: None, parse_token(issuer.issue())) as claimer,
    ):
        claimer.claim("the other side")
        link = issuer.wait_link("the other side")
        issuer.report_path(link)
        while link.direct_path is None:
            gevent.sleep(0.01)
        before = states(told)

        issuer._take(LinkTold(link, PathChanged(link.direct_path)))
        assert states(told) == before

        told_paths = len(paths(told))
        issuer._take(LinkTold(link, PathChanged(UdpEndpoint(0, "192.0.2.9", 9))))
        assert states(told) == before
        assert paths(told)[told_paths:] == [True]

        issuer.complete()
        issuer._take(LinkTold(link, PathChanged(None)))
        assert states(told) == [*before, State.STREAM_COMPLETE]
