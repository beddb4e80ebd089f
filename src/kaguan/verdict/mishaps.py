"""失败的成色：哪种任务的尝试在成批地失败、主要因为什么，最终失败占多少。"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator

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
        parameters: Parameters = {
            "type": task_type,
            "count": minute,
            "percent": round(max(share, just_now) * 100),
            "reason": reason.packed(),
            "of_reason": times,
        }
        yield Concern(ConcernCode.SETBACKS, level, task_type, parameters, min(flow.first_at for flow in failed))


def _main_reason(failed: Iterable[Flow]) -> tuple[Reason, int]:
    """最近一分钟里最多的原因与次数；只差几张卡、几个收件人的算同一个。"""
    times: Counter[Reason] = Counter()
    for flow in failed:
        times[Reason.of(flow.detail).gist()] += flow.minute
    return times.most_common(1)[0]


def failures(ledger: Ledger) -> Iterator[Concern]:
    """最终失败的占比，五分钟之内。"""
    for task_type, flows in _by_type(ledger).items():
        ended = [flow for flow in flows if flow.outcome in {TaskStatus.SUCCEEDED, TaskStatus.FAILED}]
        failed = [flow for flow in ended if flow.outcome == TaskStatus.FAILED]
        count, total = sum(flow.total for flow in failed), sum(flow.total for flow in ended)
        if count < FEW_FAILED or count < FAILED_SHARE * total:
            continue
        level = Level.BAD if count >= HALF * total else Level.WARN
        parameters: Parameters = {
            "type": task_type,
            "count": count,
            "total": total,
            "percent": round(count / total * 100),
        }
        yield Concern(ConcernCode.FAILURES, level, task_type, parameters, min(flow.first_at for flow in failed))


def _by_type(ledger: Ledger) -> dict[str, list[Flow]]:
    found: defaultdict[str, list[Flow]] = defaultdict(list)
    for flow in ledger.flow:
        found[flow.type].append(flow)
    return found
