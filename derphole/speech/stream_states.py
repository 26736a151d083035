"""States of a stream's proof, at either end.

What leads to which is drawn in `derphole.speech.stream_proof` and in the modules of
`derphole.transfer`.  Pure.
"""

from enum import Enum


class State(Enum):
    """What is true of one end of the stream."""

    EMPTY = "no byte has come"
    FLOWING = "bytes may come"
    FINISHED = "everything is sent, and FIN"
    WHOLE = "everything has come, and FIN, and they agree"
    PROVED = "everything is written, and its digest agrees"
    OVER = "nothing more is to be done after a success"
    GIVEN_UP = "a stream was reset; the end of the link may say why"
    REPLACED = "another claimer has the place, and nothing was written"
    FAILED = "the run has failed"
    # Of transfers alone, before FLOWING:
    AWAITING = "the offer has not come"
    OFFERED = "the offer was made, and is not answered"
    ANSWERED = "the offer is wanted, and where to begin is not settled"
    HEARD = "the sender knows what is held, and has not begun"
    LEAVING = "the offer is not wanted, and the other side may not know it yet"
    LOOKED = "one side only looked, and both know it"


BEFORE_FLOWING = (State.AWAITING, State.OFFERED, State.ANSWERED, State.HEARD)
UNPROVED = (*BEFORE_FLOWING, State.EMPTY, State.FLOWING, State.FINISHED, State.WHOLE)
# What `listen` and `pipe` never are in.
OF_TRANSFERS = (*BEFORE_FLOWING, State.LEAVING, State.LOOKED)
