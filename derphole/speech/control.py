"""Control: the messages of a conversation, over its control stream, the first one of a link."""

from derphole.speech.messages import Message, MessageReader, encode
from derphole.speech.turns import Stage, check_turn, messages_ended, unreadable
from tunnel.errors import DecodeError
from tunnel.net.endpoint import Stream

# Fixed by the protocol: the claimer opens it first.
CONTROL_STREAM = 0


class Control:
    """Sends and receives whole messages, each in its turn.

    Args:
        stream: the control stream.
        stage: how far the conversation is; whoever moves it on sets it.
    """

    def __init__(self, stream: Stream, stage: Stage) -> None:
        self.stage = stage
        self.stream = stream
        self._reader = MessageReader()

    def send(self, message: Message) -> None:
        """Send a message; raises `LinkEnded`."""
        self.stream.write(encode(message))

    def receive(self) -> Message:
        """Wait for the next message, which is one that may come in this stage.

        Raises `PeerBrokeProtocol` for anything else, `LinkEnded`, `StreamReset`.
        """
        while (message := self._next_message()) is None:
            chunks = self.stream.read()
            if not chunks:
                raise messages_ended(self.stage)
            for chunk in chunks:
                self._reader.feed(chunk)
        check_turn(self.stage, message)
        return message

    def _next_message(self) -> Message | None:
        try:
            return self._reader.next_message()
        except DecodeError as error:
            raise unreadable(self.stage, str(error)) from error
