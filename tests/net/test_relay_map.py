"""Loading relay maps: from the network, from files, and from the copy kept for bad days."""

import stat

import gevent
import pytest
from fake_proxy import proxying
from fake_relays import FakeConnection, running

from tunnel.errors import RelayUnreachable
from tunnel.net.relay_client.proxy import ProxySettings
from tunnel.net.relay_client.relay_map import MapOrigin, load_relay_map
from tunnel.wire.derpmap import RelayMap, RelayNode, RelayRegion, encode_derp_map

pytestmark = pytest.mark.net

MAP = RelayMap({1: RelayRegion(1, "nyc", "New York", (RelayNode("1a", 1, "relay.example"),))})
NO_PROXY = ProxySettings()


def answering(body: bytes, status: bytes = b"200 OK", fields: bytes = b""):
    def answer(connection: FakeConnection) -> None:
        connection.read_request()
        head = b"HTTP/1.1 %s\r\n%sContent-Length: %d\r\n\r\n" % (status, fields, len(body))
        connection.socket.sendall(head + body)

    return answer


def test_a_map_is_fetched_and_kept_privately(tmp_path):
    cache = tmp_path / "cache" / "map.json"
    with running(answering(encode_derp_map(MAP))) as server:
        loaded = load_relay_map(f"http://127.0.0.1:{server.port}/derpmap", cache, NO_PROXY)

    assert loaded.map == MAP
    assert loaded.origin is MapOrigin.FETCHED
    assert loaded.notice is None
    assert cache.read_bytes() == encode_derp_map(MAP)
    assert stat.S_IMODE(cache.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(cache.stat().st_mode) == 0o600
    assert [path.name for path in cache.parent.iterdir()] == ["map.json"]


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        (b"gone", b"410 Gone", "HTTP 410"),
        (b"<html>please sign in</html>", b"200 OK", "not JSON"),
        (b'{"Regions":{}}', b"200 OK", "no regions"),
        (b" " * (1 << 20) + b"{}", b"200 OK", "larger than"),
    ],
)
def test_when_the_fetch_fails_the_copy_is_used_and_the_notice_says_why(
    tmp_path, body, status, reason
):
    cache = tmp_path / "map.json"
    cache.write_bytes(encode_derp_map(MAP))
    with running(answering(body, status)) as server:
        loaded = load_relay_map(f"http://127.0.0.1:{server.port}/", cache, NO_PROXY)

    assert loaded.map == MAP
    assert loaded.origin is MapOrigin.CACHED
    assert loaded.notice is not None
    assert reason in loaded.notice
    assert "using the copy saved on 20" in loaded.notice
    assert cache.read_bytes() == encode_derp_map(MAP)


def test_a_server_that_never_answers_costs_the_timeout_only(tmp_path):
    cache = tmp_path / "map.json"
    cache.write_bytes(encode_derp_map(MAP))
    with running(lambda connection: gevent.sleep(10)) as server, gevent.Timeout(5):
        url = f"http://127.0.0.1:{server.port}/"
        loaded = load_relay_map(url, cache, NO_PROXY, timeout_s=0.2)

    assert loaded.notice is not None
    assert "no answer within 0.2 s" in loaded.notice or "timed out" in loaded.notice


def test_a_map_that_comes_late_is_waited_for_where_there_is_no_copy(tmp_path):
    told = []

    def answer_late(connection: FakeConnection) -> None:
        gevent.sleep(0.3)
        answering(encode_derp_map(MAP))(connection)

    with running(answer_late) as server, gevent.Timeout(5):
        url = f"http://127.0.0.1:{server.port}/"
        loaded = load_relay_map(url, tmp_path / "map.json", NO_PROXY, 0.1, 3.0, told.append)

    assert loaded.origin is MapOrigin.FETCHED
    assert told == [f"the relay map is slow to come from {url}; still waiting for it"]


def test_a_map_that_comes_late_replaces_the_copy_for_the_next_time(tmp_path):
    cache = tmp_path / "map.json"
    old = RelayRegion(2, "old", "", (RelayNode("2a", 2, "old.example"),))
    cache.write_bytes(encode_derp_map(RelayMap({2: old})))

    def answer_late(connection: FakeConnection) -> None:
        gevent.sleep(0.3)
        answering(encode_derp_map(MAP))(connection)

    with running(answer_late) as server, gevent.Timeout(5):
        loaded = load_relay_map(f"http://127.0.0.1:{server.port}/", cache, NO_PROXY, timeout_s=0.1)
        assert loaded.origin is MapOrigin.CACHED
        while cache.read_bytes() != encode_derp_map(MAP):
            gevent.sleep(0.01)


def test_without_a_copy_the_error_says_why(tmp_path):
    with running(answering(b"")) as server:
        server.close()
        url = f"http://127.0.0.1:{server.port}/"
        for cache in (None, tmp_path / "missing.json"):
            with pytest.raises(RelayUnreachable) as caught:
                load_relay_map(url, cache, NO_PROXY)

            assert "Connection refused" in str(caught.value)


def test_a_spoilt_copy_counts_as_none(tmp_path):
    cache = tmp_path / "map.json"
    cache.write_bytes(b"spoilt")
    with (
        running(answering(b"", b"500 Oops")) as server,
        pytest.raises(RelayUnreachable, match="no copy is saved"),
    ):
        load_relay_map(f"http://127.0.0.1:{server.port}/", cache, NO_PROXY)


def test_a_cache_that_cannot_be_written_is_a_notice_and_no_failure(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_bytes(b"")
    with running(answering(encode_derp_map(MAP))) as server:
        url = f"http://127.0.0.1:{server.port}/"
        loaded = load_relay_map(url, blocked / "map.json", NO_PROXY)

    assert loaded.map == MAP
    assert loaded.notice is not None
    assert "could not be saved" in loaded.notice


def test_redirects_are_followed():
    with running(answering(encode_derp_map(MAP))) as server:
        target = b"Location: http://127.0.0.1:%d/derpmap\r\n" % server.port
        with running(answering(b"", b"302 Found", target)) as first:
            loaded = load_relay_map(f"http://127.0.0.1:{first.port}/", None, NO_PROXY)

    assert loaded.map == MAP


def test_a_redirect_to_a_file_is_not_followed():
    target = b"Location: file:///etc/hostname\r\n"
    with (
        running(answering(b"", b"302 Found", target)) as server,
        pytest.raises(RelayUnreachable),
    ):
        load_relay_map(f"http://127.0.0.1:{server.port}/", None, NO_PROXY)


def test_a_map_comes_through_the_proxy_and_no_environment_is_read(monkeypatch):
    seen = []

    def plain_proxy(connection: FakeConnection) -> None:
        seen.append(connection.read_request())
        body = encode_derp_map(MAP)
        connection.socket.sendall(
            b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body
        )

    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with running(plain_proxy) as proxy:
        settings = ProxySettings(http=f"http://me:pw@127.0.0.1:{proxy.port}")
        loaded = load_relay_map("http://map.test/derpmap", None, settings)

    assert loaded.map == MAP
    assert seen[0].startswith(b"GET http://map.test/derpmap HTTP/1.1\r\n")
    assert b"Proxy-Authorization: Basic bWU6cHc=" in seen[0]


def test_a_map_by_https_asks_the_proxy_for_a_tunnel():
    with proxying({}) as proxy:
        settings = ProxySettings(https=f"http://127.0.0.1:{proxy.port}")
        with pytest.raises(RelayUnreachable, match="502"):
            load_relay_map("https://map.test/derpmap", None, settings)

        assert proxy.requests == ["CONNECT map.test:443"]


def test_a_map_is_read_from_a_file(tmp_path):
    path = tmp_path / "map.json"
    path.write_bytes(encode_derp_map(MAP))

    loaded = load_relay_map(str(path), None, NO_PROXY)

    assert loaded.map == MAP
    assert loaded.origin is MapOrigin.FILE


@pytest.mark.parametrize("content", [None, b"junk", b'{"Regions":{}}'])
def test_a_file_that_is_no_map_is_named(tmp_path, content):
    path = tmp_path / "map.json"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(RelayUnreachable, match=r"map\.json"):
        load_relay_map(str(path), None, NO_PROXY)


def test_a_failure_in_a_thread_is_told_by_its_sentence_alone(tmp_path, capfd):
    # gevent prints, traceback and all, what is raised in a thread of its pool.
    with running(answering(b"gone", b"410 Gone")) as server, pytest.raises(RelayUnreachable):
        load_relay_map(f"http://127.0.0.1:{server.port}/", None, NO_PROXY)
    with pytest.raises(RelayUnreachable):
        load_relay_map(str(tmp_path / "missing"), None, NO_PROXY)

    assert capfd.readouterr().err == ""
