"""One small HTTP exchange with a machine of the local network: a request out, a short answer in.

The request is ready-made; the answer is bounded and the caller bounds the time.
"""

from gevent import socket

from tunnel.errors import Truncated
from tunnel.wire.http_body import HttpBody
from tunnel.wire.http_head import head_size, parse_response_head

# Chosen: the largest answer that is read.
MAX_BODY_SIZE = 64 << 10

_READ_SIZE = 16 << 10
_FIRST_FINAL_STATUS = 200


def exchange(request: bytes, host: str, port: int, local_ip: str) -> tuple[int, bytes]:
    """Return status and body of the answer.

    Args:
        request: head and body.
        host: an IPv4 address.
        port: 1 to 65535.
        local_ip: the address to come from.

    Raises:
        OSError: no connection, or it broke.
        DecodeError: what came is no HTTP answer, or too large.
    """
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.bind((local_ip, 0))
        sock.connect((host, port))
        sock.sendall(request)
        return _read_answer(sock)
    finally:
        sock.close()


def _read_answer(sock: socket.socket) -> tuple[int, bytes]:
    data = bytearray()
    while True:
        while (size := head_size(data)) is None:
            data += _receive(sock)
        head = parse_response_head(bytes(data[:size]))
        del data[:size]
        if head.status >= _FIRST_FINAL_STATUS:
            break
    body = HttpBody(head.headers, MAX_BODY_SIZE)
    body.feed(bytes(data))
    while not body.is_complete:
        piece = sock.recv(_READ_SIZE)
        if piece:
            body.feed(piece)
        else:
            body.end()
    return head.status, body.data


def _receive(sock: socket.socket) -> bytes:
    piece: bytes = sock.recv(_READ_SIZE)
    if not piece:
        raise Truncated("the connection was closed without an answer")
    return piece
