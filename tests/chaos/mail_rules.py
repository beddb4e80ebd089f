"""邮件的裁判：成功的寄到了，多寄的每一封之前都认过账，停下等人的与失败的都说得出缘由、也不多。"""

from __future__ import annotations

from collections import Counter

from tests.chaos.evidence import Evidence, TaskFact
from tests.chaos.journal import OperatorAction
from tests.chaos.verdict import MAIL, RESTING, Verdict

MARKS = frozenset({"uncertain", "resend", "to_verify"})
USED_UP = "次尝试用尽"
FAILED_SHARE = 0.01
UNCERTAIN_PER_FAULT = 5  # 封，平均：一次故障打断的正在寄的那几封
CONSEQUENCE = 15.0  # 秒：租约、库重启后的宽限、SMTP 的两个时限加起来，故障的后果至迟这么久之后记下


def judge_mails(verdict: Verdict, evidence: Evidence) -> None:
    tasks = {task.id: task for task in evidence.tasks if task.type == MAIL}
    received = Counter((mail.task_id, recipient) for mail in evidence.mails for recipient in mail.recipients)
    copies: Counter[str] = Counter()  # 任务 → 收得最多的那个收件人收了几封
    for (name, _), count in received.items():
        copies[name] = max(copies[name], count)
    verdict.figures["收到的邮件"] = received.total()
    _repeated(verdict, evidence, copies)
    _verified(verdict, evidence, tasks)
    _arrived(verdict, evidence, tasks, received)
    _unsuccessful(verdict, evidence, list(tasks.values()))
    uncertain = [task.id for task in tasks.values() if task.status == "uncertain"]
    verdict.figures["不明的邮件里其实寄到了"] = sum(name in copies for name in uncertain)


def _repeated(verdict: Verdict, evidence: Evidence, copies: Counter[str]) -> None:
    """每多一封之前都有一个记号；``hold`` 之下只有人、或收件端说没收下，能叫它再寄。"""
    marks = Counter(note.task_id for note in evidence.notes if note.kind in MARKS)
    retried = Counter(note.task_id for note in evidence.notes if note.kind == "retried")
    silent = [name for name, count in copies.items() if count > 1 + marks[name]]
    allowed = retried + evidence.denied
    unheld = [name for name, count in copies.items() if evidence.policy == "hold" and count > 1 + allowed[name]]
    verdict.figures["重复的邮件（留有不明或重发记号）"] = sum(count > 1 for count in copies.values()) - len(silent)
    verdict.rule("重复的邮件（没有记号）", silent)
    verdict.rule("hold 之下没有人要求就再寄", unheld)


def _verified(verdict: Verdict, evidence: Evidence, tasks: dict[str, TaskFact]) -> None:
    """收件端说收下了的，就此成功；除非人要求过取消。"""
    if not evidence.confirmed and not evidence.denied:
        return
    verdict.figures["查证的邮件，收下了的"] = len(evidence.confirmed)
    verdict.figures["查证的邮件，没收下的"] = len(evidence.denied)
    unwanted = {
        answer for entry in evidence.journal if OperatorAction.CANCEL in entry.asked for answer in entry.answers
    }
    unsuccessful = [name for name in evidence.confirmed if name in tasks and tasks[name].status != "succeeded"]
    verdict.rule("查证说收下了却没有成功", sorted(set(unsuccessful) - unwanted))


def _arrived(
    verdict: Verdict, evidence: Evidence, tasks: dict[str, TaskFact], received: Counter[tuple[str, str]]
) -> None:
    missing, stray = [], []
    for name, task in tasks.items():
        if task.status == "succeeded":
            missing += [f"{name}：{recipient}" for recipient in task.recipients if not received[name, recipient]]
    admitted = {note.task_id for note in evidence.notes if note.kind in MARKS}
    # 人取消的：结局本来不明的，或几个收件人里有的已经收下，不是谎话。失败的一封也不该寄到
    cancelled = {
        name
        for name, task in tasks.items()
        if task.status == "cancelled" and (name in admitted or len(task.recipients) > 1)
    }
    may = {name for name, task in tasks.items() if task.status in {"succeeded", "uncertain"}} | cancelled
    unsettled = {task.id for task in evidence.tasks if task.status not in RESTING}
    for name, recipient in received:
        if name in evidence.gone:
            continue
        known = name in tasks and recipient in tasks[name].recipients
        if name not in may | unsettled or not known:
            stray.append(f"{name}：{recipient}")
    verdict.rule("成功却没有邮件", missing)
    verdict.rule("不该有的邮件", sorted(stray))


def _unsuccessful(verdict: Verdict, evidence: Evidence, tasks: list[TaskFact]) -> None:
    """失败只能是次数用尽；停下等人的，那一刻总有一次故障。两样都不多。"""
    failed = [task for task in tasks if task.status == "failed"]
    uncertain = [task.id for task in tasks if task.status == "uncertain"]
    hits = [strike for strike in evidence.struck if not strike.missed]
    verdict.rule("邮件没有用尽次数就失败", [task.id for task in failed if USED_UP not in task.error])
    verdict.rule("失败的邮件太多", _beyond([task.id for task in failed], FAILED_SHARE * len(tasks)))
    in_tails = sum(kind == MAIL for kind in evidence.rewound.values())
    verdict.rule("停下等人的邮件太多", _beyond(uncertain, UNCERTAIN_PER_FAULT * len(hits) + in_tails))
    unexplained = [
        note.task_id
        for note in evidence.notes
        if note.kind == "uncertain"
        and not any(strike.at <= note.at <= strike.ended + CONSEQUENCE for strike in evidence.struck)
    ]
    verdict.rule("结局不明而没有故障可解释", unexplained)


def _beyond(names: list[str], limit: float) -> list[str]:
    return names if len(names) > limit else []
