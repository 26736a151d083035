"""Questions to the person at the terminal."""

from derphole.cli.frame.output import Output
from derphole.status import Instruction

YES = ("y", "yes")


class Asker:
    """Asks on standard error and hears on standard input.

    Args:
        output: where questions are shown.
        is_possible: whether a person may be there.
    """

    def __init__(self, output: Output, *, is_possible: bool) -> None:
        self._output = output
        self._is_possible = is_possible and output.is_on_terminal and not output.is_json

    def __call__(self, question: str) -> bool | None:
        """Return the answer; None where nobody can be asked.  Only `y` and `yes` are a yes."""
        if not self._is_possible:
            return None
        from derphole.edges.stdio import ByteSource

        self._output.report(Instruction(f"{question} [y/N]"))
        source = ByteSource(0)
        try:
            if not source.is_terminal:
                return None
            line = bytes(source.read())
        finally:
            source.close()
        return line.decode("utf-8", "replace").strip().lower() in YES
