"""The body of one HTTP/1.1 response, read piece by piece and bounded.

    Transfer-Encoding: chunked     size in hex [; ignored] CR LF, data, CR LF, ... 0 CR LF, ignored
    Content-Length: n              n bytes
    neither                        up to the end of the connection

Source: RFC 9112 sections 6 and 7.  This module knows neither heads nor sockets.
"""

from collections.abc import Mapping

from tunnel.errors import DecodeError, Truncated

# Chosen: the size line of a chunk with its extensions.
MAX_SIZE_LINE = 256
_MAX_LENGTH_DIGITS = 10
_HEX_DIGITS = frozenset(b"0123456789abcdefABCDEF")


class HttpBody:
    """Collects a body.

    Args:
        headers: the fields of the head, names in lower case.
        limit: the largest body that is read, in bytes.

    Raises:
        DecodeError: the head promises a body that cannot be read, or one beyond the limit.
    """

    def __init__(self, headers: Mapping[str, str], limit: int) -> None:
        self._limit = limit
        self._data = bytearray()  # the body so far
        self._raw = bytearray()  # chunked: received and not yet read
        self._chunk_left = 0  # of the chunk being read, with its CR LF
        coding = headers.get("transfer-encoding", "").strip().lower()
        if coding not in ("", "identity", "chunked"):
            raise DecodeError("an HTTP body in an unknown transfer coding")
        self._is_chunked = coding == "chunked"
        self._length = None if self._is_chunked else _content_length(headers)
        if self._length is not None and self._length > limit:
            raise DecodeError(f"an HTTP body is longer than {limit} bytes")
        self._is_complete = self._length == 0

    @property
    def is_complete(self) -> bool:
        """Whether nothing more is awaited."""
        return self._is_complete

    @property
    def data(self) -> bytes:
        """The body as far as it was read."""
        return bytes(self._data)

    def feed(self, piece: bytes) -> None:
        """Take the next bytes; those behind the end are ignored; raises `DecodeError`."""
        if self._is_complete:
            return
        if self._is_chunked:
            self._raw += piece
            self._read_chunks()
        else:
            self._data += piece
        if self._length is not None and len(self._data) >= self._length:
            del self._data[self._length :]
            self._is_complete = True
        if len(self._data) > self._limit:
            raise DecodeError(f"an HTTP body is longer than {self._limit} bytes")

    def end(self) -> None:
        """Note the end of the connection; raises `Truncated` when more was promised."""
        if not self._is_complete and (self._is_chunked or self._length is not None):
            raise Truncated("an HTTP body ends in the middle")
        self._is_complete = True

    def _read_chunks(self) -> None:
        position = 0
        while not self._is_complete and position < len(self._raw):
            if self._chunk_left:
                taken = self._raw[position : position + self._chunk_left]
                position += len(taken)
                # The last two bytes of a chunk are its line end.
                self._data += taken[: max(0, self._chunk_left - 2)]
                self._chunk_left -= len(taken)
                continue
            end = self._raw.find(b"\n", position, position + MAX_SIZE_LINE)
            if end < 0:
                if len(self._raw) - position >= MAX_SIZE_LINE:
                    raise DecodeError("a chunk of an HTTP body has an endless size line")
                break
            size = _chunk_size(self._raw[position:end])
            if size > self._limit:
                raise DecodeError(f"an HTTP body is longer than {self._limit} bytes")
            position = end + 1
            self._is_complete = size == 0
            self._chunk_left = size + 2 if size else 0
        del self._raw[:position]


def _content_length(headers: Mapping[str, str]) -> int | None:
    text = headers.get("content-length")
    if text is None:
        return None
    # Repeated fields arrive joined; equal ones are allowed.
    values = {value.strip() for value in text.split(",")}
    value = values.pop()
    if values or not value.isascii() or not value.isdecimal() or len(value) > _MAX_LENGTH_DIGITS:
        raise DecodeError("an HTTP body of unclear length")
    return int(value)


def _chunk_size(line: bytearray) -> int:
    digits = bytes(line.partition(b";")[0]).strip()
    if not digits or len(digits) > _MAX_LENGTH_DIGITS or not _HEX_DIGITS.issuperset(digits):
        raise DecodeError("a chunk of an HTTP body has no size")
    return int(digits, 16)
