"""Budget: an amount that all links of a process share, so that no peer takes it from another's.

    what one link may have  =  twice what is left to everybody

So a single link gets two thirds, links that want as much as they can get have equal parts,
and there is always something left for the next.  Nothing is taken away: a link that has more than
its part now gets no more until it has given some back.  Floors, which no stream has to ask for, are
not counted here.  Source: the dynamic thresholds of Choudhury and Hahne, for buffers of switches.
"""

# Chosen: what a link may have for each unit that is left to all.
SHARE = 2


class Budget:
    """An amount, and how much of it is in use.

    Args:
        of_one_link: what a single link gets; all together get half as much again.
    """

    __slots__ = ("size", "used")

    def __init__(self, of_one_link: int) -> None:
        self.size = of_one_link * (SHARE + 1) // SHARE
        self.used = 0


class Account:
    """What one link has of a budget."""

    __slots__ = ("_budget", "held")

    def __init__(self, budget: Budget) -> None:
        self.held = 0
        self._budget = budget

    @property
    def room(self) -> int:
        """How much more the link may take; negative while it has more than its part."""
        left = self._budget.size - self._budget.used
        return (SHARE * left - self.held) // (SHARE + 1)

    def take(self, amount: int) -> None:
        """Note that so much more is held, or less if it is negative."""
        self.held += amount
        self._budget.used += amount
