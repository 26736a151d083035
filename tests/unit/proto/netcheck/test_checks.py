"""What answers instead of a relay: a sign-in page, or a server."""

import pytest

from tunnel.proto.netcheck.checks import SignInPage, sign_in_page


@pytest.mark.parametrize(
    ("status", "location", "port", "page"),
    [
        (204, None, 80, None),
        (200, None, 80, SignInPage(None)),
        (200, None, 3340, None),
        (511, None, 3340, SignInPage(None)),
        (302, "http://login.test/?a=1", 80, SignInPage("http://login.test/?a=1")),
        (302, "https://relay.test/generate_204", 80, None),
        (302, "https://RELAY.TEST:8443/", 80, None),
        (302, "/login", 80, None),
        (302, "http://[", 80, SignInPage("http://[")),
        (404, None, 80, None),
        (426, None, 80, None),
        (503, None, 80, None),
    ],
)
def test_a_sign_in_page_is_told_from_a_server(status, location, port, page):
    assert sign_in_page(status, location, "relay.test", port) == page
