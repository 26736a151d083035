"""Control: the messages of a conversation, over its control stream, the first one of a link."""

from derphole.messages import Message, MessageReader, encode
from tunnel.errors import DecodeError
from tunnel.net.link import Stream

# Fixed by the protocol: the claimer opens it first.
CONTROL_STREAM = 0


class Control:
    """Sends and receives whole messages.

    Args:
        stream: the control stream.
    """

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._reader = MessageReader()

    def send(self, message: Message) -> None:
        """Send a message; raises `LinkEnded`."""
        self._stream.write(encode(message))

    def receive(self) -> Message:
        """Wait for the next message; raises `LinkEnded`, `StreamReset`, `DecodeError`."""
        while (message := self._reader.next_message()) is None:
            chunks = self._stream.read()
            if not chunks:
                raise DecodeError("the other side ended its messages")
            for chunk in chunks:
                self._reader.feed(chunk)
        return message
