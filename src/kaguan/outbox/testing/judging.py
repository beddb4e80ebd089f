"""裁判：库里的效果恰好一次，外面的调用没有悄悄重复；只看库、外面与任务的结局。"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

from kaguan.outbox.task_type import Effect, TaskType, Unknown
from kaguan.outbox.testing.faults import Fault
from kaguan.outbox.testing.ground import Verdict
from kaguan.outbox.vocabulary import TaskStatus

SHOWN = 2_000  # 字符：看到的太长，只说这么多


@dataclass(frozen=True, slots=True)
class Seen:
    """一遍跑完看到的：任务怎样了，库里的效果，外面被叫了几次（各是什么身份）。"""

    verdict: Verdict
    effects: object
    calls: Sequence[Hashable]


@dataclass(frozen=True, slots=True)
class Judge:
    """``before`` 是什么都没做时库里的样子，``plain`` 是没有人打扰的那一遍。"""

    type: TaskType[Any]
    before: object
    plain: Seen

    def condemn(self, seen: Seen, fault: Fault | None) -> str | None:
        """哪里不对；None 即合格。"""
        return self._ending(seen) or self._effects(seen) or self._calls(seen, fault)

    def _ending(self, seen: Seen) -> str | None:
        verdict = seen.verdict
        match TaskStatus(verdict.status):
            case TaskStatus.SUCCEEDED:
                return None
            case TaskStatus.UNCERTAIN if self.type.effect is Effect.ONCE:
                return None
            case TaskStatus.FAILED if verdict.is_used_up and (self.type.max_attempts or 0) == 1:
                return None  # 只许一次的，死了就没有下一次
        return f"the task ends {verdict.status}: {reason_of(verdict)}"

    def _effects(self, seen: Seen) -> str | None:
        match TaskStatus(seen.verdict.status):
            case TaskStatus.UNCERTAIN:
                return None  # 人定夺之后再看
            case TaskStatus.SUCCEEDED:
                expected, said = self.plain.effects, "an undisturbed run leaves"
            case _:
                expected, said = self.before, "there was before"
        if seen.effects == expected:
            return None
        held, wanted = _differing(seen.effects, expected)
        return f"the effect is not once: PostgreSQL holds {shown(held)}, {said} {shown(wanted)}"

    def _calls(self, seen: Seen, fault: Fault | None) -> str | None:
        made, wanted = len(seen.calls), len(self.plain.calls)
        if made < wanted and seen.verdict.status == TaskStatus.SUCCEEDED:
            return f"the outside was called {made} times, not {wanted}, and the task says it is done"
        return self._again(seen, fault, f"the outside was called {made} times, not {wanted}") if made > wanted else None

    def _again(self, seen: Seen, fault: Fault | None, said: str) -> str | None:
        """又叫了外面：约定许不许。"""
        if self.type.effect is Effect.ONCE and self.type.unknown is Unknown.HOLD:
            return f"{said}, silently: the type is ONCE and HOLD"
        if self.type.unknown is Unknown.VERIFY:
            # 停着的持有者醒来还是要叫的：查证说没有发生，说得没错
            excused = seen.verdict.not_happened if fault is Fault.LEASE_LOST else 0
            return (
                None
                if len(seen.calls) - len(self.plain.calls) <= excused
                else f"{said}: verify said NotHappened of a call that had happened"
            )
        if None in seen.calls:
            return f"{said}, and nobody outside can tell a repetition: give each call its identity (Outside.call)"
        if len(set(seen.calls)) > len(set(self.plain.calls)):
            return f"{said}, under several identities: {shown(sorted(map(str, set(seen.calls))))}"
        return None


def _differing(one: object, two: object) -> tuple[object, object]:
    """两张表各几行，只说不同的。"""
    if not (isinstance(one, dict) and isinstance(two, dict) and one.keys() == two.keys()):
        return one, two
    names = [name for name in one if one[name] != two[name]]
    return {name: one[name] for name in names}, {name: two[name] for name in names}


def reason_of(verdict: Verdict) -> str:
    return "no reason" if verdict.last_error is None else shown(verdict.last_error)


def shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"
