"""Where a handler was disturbed, by what, and what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple


class Fault(StrEnum):
    """What happens at a point."""

    KILLED = "the process is killed"
    LEASE_LOST = "the process stands still until its lease is lost, an heir does the task, then it wakes up"
    TWICE = "the same delivery is executed by another process at the same time"
    CUT = "the connections to PostgreSQL are cut, an answer under way is lost"
    TAIL_LOST = "the process is killed, and PostgreSQL forgets all since the acceptance: a standby without it took over"
    STOPPED = "the process is told to stop: the handler is cancelled"


class Point(NamedTuple):
    """The ``nth`` time that ``place`` is reached."""

    place: str
    nth: int

    def __str__(self) -> str:
        return self.place if self.nth == 1 else f"{self.place} for the {self.nth}. time"


@dataclass(frozen=True, slots=True)
class Proof:
    """A handler held.

    Attributes:
        points: where it was disturbed, in the order of an undisturbed run.
        runs: how often it was run.
        effects: what the undisturbed run left in PostgreSQL, as ``effects=`` shows it.
        calls: how often the undisturbed run asked the outside.
    """

    points: Sequence[Point]
    runs: int
    effects: object
    calls: int


class NotProvenError(AssertionError):
    """The handler does not hold at some point; the message names it."""
