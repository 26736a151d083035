"""Questions to the person at the terminal: asked on standard error, answered on standard input."""

from collections.abc import Callable, Sequence

from derphole.cli.frame.output import Output
from derphole.status import Instruction

YES = ("y", "yes")


def chosen_number(
    output: Output, hear: Callable[[], str], question: str, lines: Sequence[str]
) -> int | None:
    """Have a person choose one of several lines; the first with Enter, None for anything else."""
    for number, line in enumerate(lines, 1):
        output.report(Instruction(f"{number:3}  {line}"))
    output.report(Instruction(f"{question} [1]"))
    answer = hear().strip()
    if not answer:
        return 0
    number = int(answer) if answer.isascii() and answer.isdigit() else 0
    return number - 1 if 1 <= number <= len(lines) else None


class Asker:
    """Asks a person.

    Args:
        output: where questions are shown.
        hear: waits for a line of a person; None where there is nobody.
        forget: forgets what was typed before the question.
    """

    def __init__(
        self, output: Output, hear: Callable[[], str] | None, forget: Callable[[], None]
    ) -> None:
        self._output = output
        self._forget = forget
        self._hear = hear if output.is_on_terminal and not output.is_json else None

    def __call__(self, question: str) -> bool | None:
        """Return the answer; None where nobody can be asked.  Only `y` and `yes` are a yes."""
        if self._hear is None:
            return None
        self._forget()
        self._output.report(Instruction(f"{question} [y/N]"))
        return self._hear().strip().lower() in YES
