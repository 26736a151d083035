"""Control: the messages of a conversation, over its control stream, the first one of a link."""

from derphole.speech.messages import Message, encode
from derphole.speech.turns import Stage, TurnReader, messages_ended
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
        self._reader = TurnReader()

    def send(self, message: Message) -> None:
        """Send a message; raises `LinkEnded`."""
        self.stream.write(encode(message))

    def receive(self) -> Message:
        """Wait for the next message, which is one that may come in this stage.

        Raises `PeerBrokeProtocol` for anything else, `LinkEnded`, `StreamReset`.
        """
        while (message := self._reader.next_message(self.stage)) is None:
            chunks = self.stream.read()
            if not chunks:
                raise messages_ended(self.stage)
            for chunk in chunks:
                self._reader.feed(chunk)
        return message
