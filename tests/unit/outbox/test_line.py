"""队伍的账：受理与转交任意交错，单个的不等别人的积压，同一个提交者先来先做。库里的那一半由 :class:`Queue` 照做。"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import islice
from typing import TypeAlias
from uuid import UUID

from hypothesis import example, given, settings
from hypothesis import strategies as st

from kaguan.outbox.deliver.deliveries import Due, Line
from kaguan.outbox.vocabulary import START

QUEUE = 1
CALLERS = st.sampled_from(["a", "b", "c", "d"])
ACCEPTS = st.tuples(CALLERS, st.integers(1, 60))
LOOKS = st.tuples(st.integers(1, 30), st.booleans())
STEPS = st.lists(st.one_of(ACCEPTS, LOOKS), max_size=40)  # 受理（谁、几个），或转交（几个、是否从头看）


@dataclass(slots=True)
class Queue:
    """一个队列：fetch.sql 做的，一步走一秒。"""

    line: Line = field(default_factory=Line)
    now: int = 0
    rows: list[Due] = field(default_factory=list)
    handed: list[Due] = field(default_factory=list)

    def accept(self, caller: str, count: int) -> list[Due]:
        self.now += 1
        at, first = START[0] + timedelta(seconds=self.now), len(self.rows) + len(self.handed)
        rows = [
            Due(UUID(int=first + one), 1, "t", QUEUE, caller, None, at, 0.0, 0.0, alone=False) for one in range(count)
        ]
        self.rows += rows
        return rows

    def hand_over(self, room: int, *, thorough: bool = False) -> list[Due]:
        self.now += 1
        rooms = {QUEUE: room}
        if thorough or self.line.lost or not self.line.caught_up:
            self.line.know(sorted({row.caller for row in self.rows}), self.now, start_over=thorough)
        shares = self.line.shares(rooms)
        assert sum(shares.values()) <= room
        since = START[0] + timedelta(seconds=self.line.caught_up[QUEUE])
        fresh = (row for row in self.rows if row.caller not in shares and row.available_at > since)
        found = list(islice(fresh, room))
        for caller, share in shares.items():
            place = self.line.places[caller]
            found += islice((row for row in self.rows if row.caller == caller and row.place > place), share)
        chosen = self.line.choose(sorted(found, key=lambda row: row.place), rooms, shares, self.now)
        assert len(chosen) == min(room, len(found))
        gone = {row.task_id for row in chosen}
        self.rows = [row for row in self.rows if row.task_id not in gone]
        self.handed += chosen
        return chosen


Step: TypeAlias = tuple[str, int] | tuple[int, bool]


def played(steps: list[Step]) -> Queue:
    queue = Queue()
    for first, second in steps:
        if isinstance(first, str):
            queue.accept(first, second)
        else:
            queue.hand_over(first, thorough=bool(second))
    return queue


@settings(max_examples=20)
@given(STEPS)
def test_everything_is_handed_over_without_ever_starting_over(steps: list[Step]) -> None:
    queue = played(steps)
    while queue.hand_over(7):
        pass
    assert queue.rows == []
    assert queue.line.places == {}


@settings(max_examples=20)
@given(STEPS, CALLERS, st.integers(1, 30))
@example([("a", 1), ("a", 1), (1, False), ("b", 3)], "c", 4)  # 三个人四个空位：零头不许挤掉最后的
def test_one_task_waits_for_no_more_than_a_turn_of_each(steps: list[Step], caller: str, room: int) -> None:
    queue = played(steps)
    while any(row.principal == caller for row in queue.rows):
        queue.hand_over(7)
    queue.hand_over(1)  # 刚到的，按到的先后占去一眼；从此都认得
    (single,) = queue.accept(caller, 1)
    before = len(queue.handed)
    while single not in queue.handed:
        assert queue.hand_over(room)
    ahead = Counter(row.principal for row in queue.handed[before : queue.handed.index(single)])
    assert all(count <= 1 for count in ahead.values()), ahead


@settings(max_examples=20)
@given(STEPS)
def test_tasks_of_one_caller_go_in_the_order_of_acceptance(steps: list[Step]) -> None:
    queue = played([*steps, *[(30, False)] * 100])
    for caller in "abcd":
        places = [row.place for row in queue.handed if row.principal == caller]
        assert places == sorted(places)


@settings(max_examples=20)
@given(st.integers(1, 40), st.lists(st.integers(1, 30), min_size=2, max_size=10))
def test_two_backlogs_are_served_alike(start: int, rooms: list[int]) -> None:
    queue = Queue()
    queue.accept("a", 500)
    queue.hand_over(start)
    queue.accept("b", 500)
    queue.hand_over(1)
    queue.hand_over(1)
    served = Counter(row.principal for room in rooms for row in queue.hand_over(room))
    assert abs(served["a"] - served["b"]) <= len(rooms)


@settings(max_examples=20)
@given(st.lists(st.booleans(), min_size=12, max_size=12), st.integers(1, 3))
def test_starting_over_lets_nobody_have_two_turns_before_everybody_had_one(thorough: list[bool], room: int) -> None:
    queue = Queue()
    for caller in "abcdefghijkl":
        queue.accept(caller, 100)
    queue.hand_over(1, thorough=True)
    served = Counter(row.principal for each in thorough[::room] for row in queue.hand_over(room, thorough=each))
    assert max(served.values()) <= 2
    assert len(served) >= 11


@settings(max_examples=20)
@given(STEPS)
def test_what_was_forgotten_is_found_from_the_start(steps: list[Step]) -> None:
    queue = played(steps)
    queue.line = Line()
    while queue.hand_over(7):
        pass
    assert queue.rows == []
