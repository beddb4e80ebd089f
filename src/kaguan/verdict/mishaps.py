"""失败的成色：哪种任务的尝试在成批地失败、主要因为什么，最终失败占多少。"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from kaguan.outbox.vocabulary import TaskStatus
from kaguan.verdict.model import Concern, ConcernCode, Level, Parameters
from kaguan.verdict.observation import Flow, Ledger
from kaguan.words.reasons import Reason

FEW = 5  # 个：少于它说明不了什么
MANY = 20
SOME, HALF = 0.1, 0.5  # 占比
FEW_FAILED, FAILED_SHARE = 5, 0.05  # 与告警 TaskFailureRatio 同一个界限


def setbacks(ledger: Ledger) -> Iterator[Concern]:
    """尝试失败：一半以上是坏事，一成以上且不少是提醒。十五秒看开头，一分钟看余波：开头说得快，收尾不闪。"""
    for task_type, flows in _by_type(ledger).items():
        failed = [flow for flow in flows if flow.outcome == "attempt_failed"]
        done = [flow for flow in flows if flow.outcome == TaskStatus.SUCCEEDED]
        minute, moment = sum(flow.minute for flow in failed), sum(flow.moment for flow in failed)
        share = minute / max(1, minute + sum(flow.minute for flow in done))
        just_now = moment / max(1, moment + sum(flow.moment for flow in done))
        if (minute >= FEW and share >= HALF) or (moment >= FEW and just_now >= HALF):
            level = Level.BAD
        elif minute >= MANY and share >= SOME:
            level = Level.WARN
        else:
            continue
        reason, times = _main_reason(failed)
        ended = sum(flow.minute for flow in flows if flow.outcome == TaskStatus.FAILED)
        parameters: Parameters = {
            "type": task_type,
            "count": minute,
            "percent": round(max(share, just_now) * 100),
            "reason": reason.packed(),
            "of_reason": times,
            "final": ended >= HALF * minute,
        }
        yield Concern(ConcernCode.SETBACKS, level, task_type, parameters, min(flow.first_at for flow in failed))


def _main_reason(failed: Sequence[Flow]) -> tuple[Reason, int]:
    """最近一分钟里最多的原因，说其中最近的一个，与它的次数；只差几张卡、几个收件人的算同一个。"""
    times: Counter[Reason] = Counter()
    for flow in failed:
        times[Reason.of(flow.detail).gist()] += flow.minute
    main, count = times.most_common(1)[0]
    alike = (flow for flow in failed if Reason.of(flow.detail).gist() == main)
    return Reason.of(max(alike, key=lambda flow: flow.last_at).detail), count


def failures(ledger: Ledger) -> Iterator[Concern]:
    """最终失败、还没有重来的占比。"""
    for ending in ledger.endings:
        count, total = ending.failed, ending.failed + ending.succeeded
        if count < FEW_FAILED or count < FAILED_SHARE * total:
            continue
        level = Level.BAD if count >= HALF * total else Level.WARN
        parameters: Parameters = {
            "type": ending.type,
            "count": count,
            "total": total,
            "percent": round(count / total * 100),
        }
        yield Concern(ConcernCode.FAILURES, level, ending.type, parameters, ending.first_at)


def _by_type(ledger: Ledger) -> dict[str, list[Flow]]:
    found: defaultdict[str, list[Flow]] = defaultdict(list)
    for flow in ledger.flow:
        found[flow.type].append(flow)
    return found
