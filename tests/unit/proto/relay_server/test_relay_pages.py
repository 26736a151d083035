"""What the relay answers to HTTP requests."""

import pytest

from tunnel.net.relay_client.dial import MAX_BODY_SHOWN
from tunnel.proto.relay_server import pages as relay_pages
from tunnel.proto.relay_server.connection_caps import Refusal
from tunnel.proto.relay_server.forwarded import Forwarded
from tunnel.proto.relay_server.pages import Page, Site, Upgrade
from tunnel.wire.derpmap import STUN_OFF, RelayNode, decode_derp_map
from tunnel.wire.http_head import (
    encode_upgrade_request,
    head_size,
    parse_request_head,
    parse_response_head,
)

KEY = bytes(range(32))
NODE = RelayNode("900a", 900, "192.0.2.1", stun_port=STUN_OFF, derp_port=3340, use_tls=False)
SITE = Site(NODE, KEY)


UPGRADE = ("Connection: Upgrade", "Upgrade: DERP")


def ask(path, *fields, method="GET", version="1.1", site=SITE, is_full=False, **told):
    lines = (f"{method} {path} HTTP/{version}", *fields, "", "")
    head = parse_request_head("\r\n".join(lines).encode())
    return relay_pages.answer(head, site, is_full=is_full, forwarded=Forwarded(**told))


def own_node(page):
    (region,) = decode_derp_map(page.body.encode()).regions.values()
    assert (region.id, region.code) == (900, "own")
    (node,) = region.nodes
    return node


def test_the_upgrade_is_answered_as_derper_does():
    head = parse_request_head(encode_upgrade_request("192.0.2.1:3340"))

    answer = relay_pages.answer(head, SITE, is_full=False)

    assert answer == Upgrade(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: DERP\r\nConnection: Upgrade\r\n"
        b"Derp-Version: 2\r\nDerp-Public-Key: " + KEY.hex().encode() + b"\r\n\r\n"
    )


@pytest.mark.parametrize("word", ["DERP", "derp", "Derp", "websocket"])
def test_upgrade_words_in_any_case_and_the_old_websocket_word_give_frames(word):
    assert isinstance(ask("/derp", "Connection: upgrade", f"Upgrade: {word}"), Upgrade)


def test_an_upgrade_may_stand_in_a_list_as_proxies_write_it():
    fields = ("Connection: keep-alive,\tUPGRADE", "Upgrade: h2c, derp")

    assert isinstance(ask("/derp", *fields), Upgrade)
    assert isinstance(ask("/derp", "Connection: close", *UPGRADE, "Content-Length: 0"), Upgrade)


def test_a_fast_start_gets_no_head():
    assert ask("/derp", *UPGRADE, "Derp-Fast-Start: 1") == Upgrade(b"")
    assert ask("/derp", *UPGRADE, "Derp-Fast-Start: 0") != Upgrade(b"")


@pytest.mark.parametrize(
    "fields",
    [
        (),
        ("Upgrade: DERP",),
        ("Connection: Upgrade",),
        ("Connection: keep-alive", "Upgrade: DERP"),
        ("Connection: upgraded", "Upgrade: DERP"),
        ("Connection: Upgrade", "Upgrade: h2c"),
        ("Connection: Upgrade", "Upgrade: DERP/2"),
        ("Connection: Upgrade", "Upgrade:"),
        ("Upgrade: DERP", "Derp-Fast-Start: 1"),
    ],
)
def test_requests_that_are_no_derp_upgrade_are_told_so(fields):
    page = ask("/derp", *fields)

    assert (page.status, page.body) == (426, "DERP requires connection upgrade\n")
    head = relay_pages.encode_page(page)
    assert b"\r\nUpgrade: DERP\r\n" in head
    assert b"\r\nConnection: Upgrade, close\r\n" in head


def test_http_1_0_knows_no_upgrade():
    assert ask("/derp", *UPGRADE, version="1.0").status == 426
    assert ask("/derp", *UPGRADE, "Derp-Fast-Start: 1", version="1.0").status == 426


@pytest.mark.parametrize("method", ["POST", "HEAD", "PUT", "OPTIONS", "CONNECT", "get", "X"])
@pytest.mark.parametrize("fields", [(), UPGRADE, (*UPGRADE, "Derp-Fast-Start: 1")])
def test_derp_is_asked_for_by_get_only(method, fields):
    page = ask("/derp", *fields, method=method)

    assert (page.status, page.headers["Allow"]) == (405, "GET")


@pytest.mark.parametrize(
    "field",
    [
        "Content-Length: 1",
        "Content-Length: 10",
        "Content-Length: -0",
        "Content-Length:",
        "Content-Length: 0, 5",
        "Transfer-Encoding: chunked",
        "Transfer-Encoding: identity",
    ],
)
@pytest.mark.parametrize("start", [(), ("Derp-Fast-Start: 1",)])
def test_an_upgrade_with_content_is_refused(field, start):
    page = ask("/derp", *UPGRADE, *start, field)

    assert page.status == 400
    assert "content" in page.body


def test_websocket_is_told_that_it_is_not_spoken():
    fields = ("Upgrade: websocket", "Sec-WebSocket-Protocol: chat, derp")
    page = ask("/derp", "Connection: Upgrade", *fields)

    assert page.status == 501
    assert "WebSocket" in page.body


def test_a_full_relay_says_so():
    assert ask("/derp", *UPGRADE, is_full=True).status == 503
    assert ask("/healthz", is_full=True).status == 200


@pytest.mark.parametrize("path", ["/derp/probe", "/derp/latency-check"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_probes_are_empty_and_readable_from_web_pages(path, method):
    page = ask(path, method=method)

    assert (page.status, page.body) == (200, "")
    assert page.headers["Access-Control-Allow-Origin"] == "*"


@pytest.mark.parametrize("path", ["/", "/derp/probe", "/derpmap", "/generate_204", "/healthz"])
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "CONNECT", "head"])
def test_other_methods_are_refused(path, method):
    page = ask(path, method=method)

    assert (page.status, page.headers["Allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize("path", ["/", "/derp/probe", "/derpmap", "/generate_204", "/healthz"])
def test_pages_are_served_to_programs_of_old(path):
    assert ask(path, version="1.0").status in (200, 204)


def test_the_challenge_of_a_captive_portal_check_is_answered():
    page = ask("/generate_204", "X-Tailscale-Challenge: ts.1:b-C")

    assert page.status == 204
    assert page.headers["X-Tailscale-Response"] == "response ts.1:b-C"


@pytest.mark.parametrize("challenge", ["", "a b", "a<b>", "a" * 65])
def test_a_strange_challenge_is_not_repeated(challenge):
    page = ask("/generate_204", f"X-Tailscale-Challenge: {challenge}")

    assert "X-Tailscale-Response" not in page.headers


def test_the_map_shows_the_relay_as_the_client_reached_it():
    node = own_node(ask("/derpmap", "Host: relay.example:8080"))

    assert (node.host, node.derp_port, node.ipv4, node.use_tls) == (
        "relay.example",
        8080,
        "",
        False,
    )
    assert node.stun_port == STUN_OFF


def test_the_map_gives_an_address_as_an_address():
    ipv4 = own_node(ask("/derpmap", "Host: 127.0.0.1:3340"))
    ipv6 = own_node(ask("/derpmap", "Host: [::1]:3340"))

    assert (ipv4.ipv4, ipv4.ipv6) == ("127.0.0.1", "none")
    assert (ipv6.host, ipv6.ipv4, ipv6.ipv6) == ("::1", "none", "::1")


@pytest.mark.parametrize("host", ["", "a b", "<x>", "a:b:c", "user@host"])
def test_the_map_falls_back_to_the_listening_address(host):
    node = own_node(ask("/derpmap", f"Host: {host}"))

    assert (node.host, node.derp_port) == ("192.0.2.1", 3340)


def test_the_map_of_a_tls_relay_pins_the_certificate():
    pin = "sha256-raw:" + "ab" * 32
    site = Site(RelayNode("900a", 900, "192.0.2.1", cert_name=pin, derp_port=8443), KEY)

    node = own_node(ask("/derpmap", "Host: relay.example", site=site))

    assert (node.cert_name, node.use_tls, node.derp_port) == (pin, True, 443)


def test_the_map_shows_the_way_by_a_proxy_that_tells_it():
    https = own_node(ask("/derpmap", "Host: relay.example", scheme="https"))
    renamed = own_node(
        ask("/derpmap", "Host: 127.0.0.1:3340", scheme="https", host="relay.example")
    )

    for node in (https, renamed):
        assert (node.host, node.derp_port, node.use_tls) == ("relay.example", 443, True)


def test_fields_of_a_proxy_are_nothing_by_themselves():
    fields = ("Host: relay.example", "X-Forwarded-Proto: https", "X-Forwarded-Host: evil.example")
    node = own_node(ask("/derpmap", *fields))

    assert (node.host, node.derp_port, node.use_tls) == ("relay.example", 80, False)


def test_a_proxys_certificate_is_not_pinned_by_ours():
    site = Site(RelayNode("900a", 900, "192.0.2.1", cert_name="sha256-raw:" + "ab" * 32), KEY)

    assert own_node(ask("/derpmap", "Host: r", site=site, scheme="https")).cert_name == ""


def test_a_public_url_is_what_the_map_shows_whatever_a_request_tells():
    public = RelayNode("900a", 900, "relay.example", stun_port=STUN_OFF)
    site = Site(public, KEY, is_node_public=True)

    for told in ({}, {"scheme": "http", "host": "x"}):
        assert own_node(ask("/derpmap", "Host: 127.0.0.1:3340", site=site, **told)) == public


def test_a_refusal_fits_into_what_a_client_shows_of_it():
    for refusal in Refusal:
        page = relay_pages.refusal_page(refusal, 100_000)
        assert len(page.body) <= MAX_BODY_SHOWN
    assert relay_pages.refusal_page(Refusal.SOURCE, 64).status == 429
    assert "64 connections" in relay_pages.refusal_page(Refusal.SOURCE, 64).body


def test_unknown_paths_are_not_found():
    assert ask("/robots.txt").status == 404
    assert ask("/derp/").status == 404


def test_a_page_for_a_person_and_one_for_a_monitor():
    assert "derphole relay" in ask("/?from=browser").body
    assert ask("/healthz") == Page(200, "ok")


def test_pages_are_encoded_with_their_length_and_head_without_the_body():
    page = Page(200, "höhe\n")

    data = relay_pages.encode_page(page)
    head = parse_response_head(data[: head_size(data)])

    assert head.headers["content-length"] == "6"
    assert head.headers["connection"] == "close"
    assert data.endswith("höhe\n".encode())
    assert relay_pages.encode_page(page, with_body=False) == data[: head_size(data)]


def test_no_content_has_no_length():
    assert b"Content-Length" not in relay_pages.encode_page(Page(204))
