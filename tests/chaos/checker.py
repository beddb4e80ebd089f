"""裁判：从证据到结论，纯函数。它自己也被考：``test_checker.py`` 喂伪造的历史，对照战役必须被它判不合格。"""

from __future__ import annotations

import math
from collections import Counter

from tests.chaos.bound_rules import judge_bounds
from tests.chaos.evidence import Evidence, TaskFact
from tests.chaos.failover_rules import judge_failover, judge_switches
from tests.chaos.journal import Kind
from tests.chaos.mail_rules import judge_mails
from tests.chaos.request_rules import judge_requests
from tests.chaos.timing_rules import judge_timing
from tests.chaos.verdict import MAIL, RESTING, Verdict

HIT_SHARE = 0.9  # 至少这么多的故障要真的打中，否则战役说明不了什么


def judge(evidence: Evidence) -> Verdict:
    verdict = Verdict()
    _figures(verdict, evidence)
    _accepted(verdict, evidence)
    _effects(verdict, evidence)
    judge_requests(verdict, evidence)
    judge_mails(verdict, evidence)
    _order(verdict, evidence)
    judge_timing(verdict, evidence)
    judge_failover(verdict, evidence)
    judge_switches(verdict, evidence)
    _strikes(verdict, evidence)
    judge_bounds(verdict, evidence)
    verdict.rule("换了投递号，时间线里没有缘由", sorted(evidence.unexplained))
    verdict.rule("未了结的任务", [task.id for task in evidence.tasks if task.status not in RESTING])
    verdict.rule("残留的发件箱行", sorted(evidence.outbox))
    verdict.rule("失败却没有原因", [t.id for t in evidence.tasks if t.status == "failed" and not t.error])
    verdict.rule("进程崩溃", [f"{name} × {count}" for name, count in evidence.crashes.items()])
    verdict.rule("恢复之后仍不可用", evidence.unavailable)
    verdict.rule("没有在 30 秒之内干净地停下", evidence.stuck)
    verdict.rule("闲置在事务里的连接", ["连接"] * evidence.idle_in_transaction)
    return verdict


def _figures(verdict: Verdict, evidence: Evidence) -> None:
    journal, tasks = [entry for entry in evidence.journal if entry.tries], evidence.tasks
    verdict.states = Counter(task.status for task in tasks)
    verdict.figures["提交"] = len(journal)
    verdict.figures["已受理"] = sum(entry.acked for entry in journal)
    verdict.figures["不明（没等到答复）"] = sum(not entry.acked for entry in journal)
    known = {task.marker for task in tasks}
    verdict.figures["不明而其实已受理"] = sum(not entry.acked and entry.marker in known for entry in journal)
    deliveries = sum(task.delivery for task in tasks)
    verdict.figures["投递放大"] = round(deliveries / len(tasks), 3) if tasks else 0


def _accepted(verdict: Verdict, evidence: Evidence) -> None:
    """受理的都在，恰好一份，答案前后一致；用户、订单与它们的邮件同生同灭。随尾巴没了的不算在内，另有交代。"""
    gone = evidence.gone
    by_marker: dict[str, list[TaskFact]] = {}
    for task in evidence.tasks:
        by_marker.setdefault(task.marker, []).append(task)
    lost, inconsistent, refused, half = [], [], [], set[str]()
    for entry in evidence.journal:
        held = by_marker.get(entry.marker, [])
        resources = {task.id for task in held}
        if entry.kind is Kind.USER:
            resources = {evidence.users[entry.marker]} if entry.marker in evidence.users else set()
        standing = entry.answers - gone
        if standing and (not held or not standing & resources):
            lost.append(entry.marker)
        elif len(standing) > 1 or len(held) > entry.tasks:
            inconsistent.append(entry.marker)
        if held and (len(held) < entry.tasks or entry.buys != (entry.marker in evidence.buyers)):
            half.add(entry.marker)
        if entry.refusals:
            refused.append(f"{entry.marker}：{entry.refusals}")
    mailed = {task.marker for task in evidence.tasks if task.marker.startswith(Kind.USER)}
    verdict.rule("丢失（已受理却没有任务）", lost)
    verdict.rule("同一个键多份或答案不一", inconsistent)
    verdict.rule("合法的提交被拒", refused)
    verdict.rule("用户与邮件任务只有一半", sorted(half | (mailed ^ set(evidence.users))))


def _strikes(verdict: Verdict, evidence: Evidence) -> None:
    hits = sum(not strike.missed for strike in evidence.struck)
    verdict.figures["打中的故障"] = hits
    few = hits < HIT_SHARE * evidence.planned
    verdict.rule("打中的故障不到九成", [f"{hits}/{evidence.planned}"] if few else [])


def _effects(verdict: Verdict, evidence: Evidence) -> None:
    """账本：成功的恰好一行，其余一行也没有；这个处理器不会失败，没有人取消就只能成功。"""
    succeeded = {task.id for task in evidence.tasks if task.type != MAIL and task.status == "succeeded"}
    short = [task.id for task in evidence.tasks if task.type != MAIL and task.status in {"failed", "uncertain"}]
    verdict.rule("记账任务没有成功", short)
    verdict.figures["账本行数"] = sum(evidence.ledger.values())
    verdict.rule("成功却没有生效", sorted(succeeded - set(evidence.ledger)))
    verdict.rule("重复生效", [name for name, count in evidence.ledger.items() if count > 1])
    verdict.rule("不该有的生效", sorted(set(evidence.ledger) - succeeded))


def _order(verdict: Verdict, evidence: Evidence) -> None:
    """同一个有序键：受理在后的，不早于在先的了结就开始，信也不先到。

    结局不明的不比到达：它已放行后面的，僵尸手里的信却可能晚到，SMTP 那头没有令牌可查；它留有记号。
    """
    tasks = {task.marker: task for task in evidence.tasks}
    first: dict[str, float] = {}
    for mail in evidence.mails:
        first[mail.task_id] = min(mail.at, first.get(mail.task_id, mail.at))
    settled: dict[str, float] = {}
    arrived: dict[str, float] = {}
    before: dict[str, str] = {}
    checked, violations = 0, []
    for entry in evidence.journal:
        task = tasks.get(entry.marker)
        if not entry.chain or task is None:
            continue
        checked += 1
        early = task.started is not None and task.started < settled.get(entry.chain, 0.0)
        at = first.get(task.id, math.inf) if task.status == "succeeded" else math.inf
        if early or at < arrived.get(entry.chain, 0.0):
            violations.append(f"{entry.chain}：{task.id}，前一个 {before[entry.chain]}")
        before[entry.chain] = task.id
        settled[entry.chain] = max(task.finished or 0.0, settled.get(entry.chain, 0.0))
        if at < math.inf:
            arrived[entry.chain] = max(at, arrived.get(entry.chain, 0.0))
    verdict.figures["有序的任务"] = checked
    verdict.rule("同一个键乱序", violations)
