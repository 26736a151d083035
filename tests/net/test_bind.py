"""The socket file of `open`: one that was left behind, one of another program, one of our own."""

import pytest
from gevent import socket

from derphole.errors import BindFailed
from derphole.forwarding.bind import bound
from derphole.forwarding.endpoints import parse_bind

pytestmark = pytest.mark.net


def test_a_socket_file_that_a_program_left_behind_is_replaced_and_removed(tmp_path):
    path = tmp_path / "left.sock"
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(path))
    left.close()

    with bound(parse_bind(f"unix:{path}")) as listener:
        assert path.stat().st_mode & 0o777 == 0o600
        assert listener.getsockname() == str(path)
        with pytest.raises(BindFailed, match="another program"), bound(parse_bind(f"unix:{path}")):
            raise AssertionError("it was bound")
    assert not path.exists()

    path.write_text("a file of somebody")
    with pytest.raises(BindFailed, match="is not a socket"), bound(parse_bind(f"unix:{path}")):
        raise AssertionError("it was bound")
    assert path.read_text() == "a file of somebody"


def test_a_socket_file_that_another_program_made_meanwhile_is_left_alone(tmp_path):
    path = tmp_path / "taken.sock"

    with bound(parse_bind(f"unix:{path}")):
        path.unlink()
        another = socket.socket(socket.AF_UNIX)
        another.bind(str(path))
        another.listen(1)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
    another.close()

    with bound(parse_bind(f"unix:{path}")):
        path.unlink()
    assert not path.exists()
