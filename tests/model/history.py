"""由模型判历史：一个任务看得见的样子一步步变成的「词」，模型走不走得出来（docs/evidence/MODEL.md）。

判的就是 ``delivery.pml``，不是另写的一份：每个原子步之后接上观察者（``history.h``），故障不限次数，不看尽头的
断言。全部的词排成一棵树，一次穷尽搜索里走到过的节点就是走得出来的；走不到的，协议不许。
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from tests.model.spin import DEPTH, MEMORY, MODEL

OBSERVER = Path(__file__).with_name("history.h")
FARTHEST = 8  # 模型数得到的投递号（TOP）减一：再往后的它跟不上
STATUSES = ("", "pending", "queued", "running", "retrying", "succeeded", "failed", "cancelled", "uncertain")
FORGETFUL = frozenset({"succeeded", "cancelled"})  # 到头了：模型把用不上的计数归零
FIELDS = {  # 名字 → 模型里的写法与位数；末一项收尾，共 31 位
    "mail": ("now.mail_kind", 1),
    "status": ("now.task[0].status", 4),
    "delivery": ("now.task[0].delivery", 4),
    "attempt": ("now.task[0].attempt", 4),
    "lost": ("now.task[0].lost", 4),
    "released": ("now.task[0].lease == 3", 1),
    "intent": ("now.task[0].intent", 1),
    "cancel": ("now.task[0].cancel", 1),
    "outbox": ("now.task[0].outbox", 4),
    "effects": ("!now.mail_kind * now.task[0].effects", 2),
    "marks": ("SEEN_MARKS % 8", 3),
    "sends": ("SEEN_MAILS * now.task[0].sends % 4", 2),
}
INTENDED = 2  # 模型里，记了意向、还没有寄的那一步
TURN = """
#ifdef FORGETS
#define turn(w) (w == 0 || worker[0].kept_mine[0] || (worker[0].step == 3 && !worker[0].mine[0]))
#else
#define turn(w) (w == 0 || (worker[0].job[0] == 1 && task[0].delivery > 1))
#endif
"""
FALLING_BACK = (
    "c_expr { now.lagging && back_next[now.node] } -> fail_over(); c_code { now.node = follow(now.node, BACK); }"
)
# 忘了尾巴的，旧的投递、僵尸的认领也许还会回来：备库里的那一行还是它的
FORGETFUL_VIEW = """
#ifdef FORGETS
\\#define SEEN_MARKS now.marked[0]
\\#define BEHIND (now.lagging && now.kept[0].delivery < now.task[0].delivery)
\\#define OLDEST (BEHIND ? now.kept[0].delivery : now.task[0].delivery)
\\#define FENCED(w) (now.worker[w].step == 3 && !now.worker[w].mine[0])
\\#define GONE(w) (!now.worker[w].kept_mine[0] && (now.worker[w].job[0] != now.task[0].delivery || FENCED(w)))
\\#define UNNOTED if (!now.history_cut && !back_later[now.node]) now.note[0] = 0
#else
\\#define SEEN_MARKS now.task[0].marks
\\#define OLDEST now.task[0].delivery
\\#define GONE(w) (now.worker[w].job[0] != now.task[0].delivery)
\\#define UNNOTED
#endif
"""
END = 0  # 词的末一个字母：有了着落，什么也没留下
BACK = 1  # 退回到从前的那一刻；退回之后的样子若变了，是下一个字母
Word = tuple[int, ...]


class View(NamedTuple):
    """一个任务此刻看得见的样子。

    Attributes:
        mail: 要寄信的；否则只写库。
        released: 运行中，而租约已主动交还。
        outbox: 发件箱行的投递号，0 = 没有。
        effects: 账本里几行；寄信的不记。
        marks: 时间线上几个「不明」与「重发」。
        sends: 收件端收下的几封。
    """

    mail: bool
    status: str
    delivery: int
    attempt: int = 0
    lost: int = 0
    released: bool = False
    intent: bool = False
    cancel: bool = False
    outbox: int = 0
    effects: int = 0
    marks: int = 0
    sends: int = 0

    def letter(self) -> int:
        """一个整数，与模型里的同一种排法。"""
        seen: Mapping[str, int] = self._replace(
            effects=min(self.effects, 3), marks=self.marks % 8, sends=self.sends % 4
        )._asdict()
        if self.status in FORGETFUL:
            seen = {**seen, "attempt": 0, "lost": 0, "cancel": 0}
        packed, shift = 0, 0
        for name, (_, width) in FIELDS.items():
            value = STATUSES.index(self.status) if name == "status" else int(seen[name])
            packed |= value << shift
            shift += width
        return packed


@dataclass(frozen=True, slots=True)
class Rules:
    """历史出自怎样的配置；``resend`` 是不明的外部调用再来一次（或先查证）。"""

    attempts: int = 6
    lost: int = 5
    resend: bool = False
    verify: bool = False
    arrivals: bool = True  # 收件端收下的信在不在历史里
    forgets: bool = False  # PostgreSQL 会忘了尾巴

    @property
    def flags(self) -> list[str]:
        sizes = [
            "TASKS=1",
            "WORKERS=2",
            "RELAYS=1",
            "FAULTS=1",
            "NO_EPOCH",
            f"ATTEMPTS={self.attempts}",
            f"LOST={self.lost}",
        ]
        return [
            *sizes,
            "HISTORY",
            *(["RESEND"] if self.resend else []),
            *(["VERIFY"] if self.verify else []),
            *([] if self.arrivals else ["UNSEEN_MAILS"]),
            *(["FORGETS"] if self.forgets else []),
        ]


def observed(model: str) -> str:
    """``model`` 的每个原子步之后接上观察者。

    Raises:
        LookupError: 模型里没有该换的片段。
    """
    for old, new in (
        ("faults--", "skip"),  # 故障不限次数
        ("faults = 0", "skip"),
        ("redis_epoch++", "skip"),  # 看得见的只有重投；清空与只丢投递、纪元与核对，重投起来一样
        # 后一个 worker 只在前一个是正要寄信的僵尸、或断了历史还会回来的持有者时才用得着
        ("#define turn(w) (w == 0 || worker[0].step)", TURN),
        ("run Watch()", "skip"),  # 故障不限次数就没有尽头可看
        ("faults && !lagging && !history_cut -> ", "c_expr { !now.lagging && keeps[now.node] } -> "),
        ("lagging -> fail_over()", FALLING_BACK),
    ):
        if old not in model:
            raise LookupError(f"模型里没有：{old}")
        model = model.replace(old, new)
    model = re.sub(r"(proctype (?!Watch)\w+\([^)]*\)) \{", r"\1 provided (node) {", model)
    declarations, first, actors = model.partition("proctype ")
    pieces, rest = [declarations, _watching()], first + actors
    while "atomic {" in rest:
        before, _, after = rest.partition("atomic {")
        end = _closing(after)
        step = after[:end].rstrip()
        joint = "\n" if step.rpartition("\n")[2].startswith("#") else ";"  # 末行是 #endif：分号在它前面了
        pieces += [before, "atomic {", step.removesuffix(";"), joint, " see() "]
        rest = after[end:]
    return "".join([*pieces, rest])


def _watching() -> str:
    shift, parts, unsent = 0, [], 0
    for name, (expression, width) in FIELDS.items():
        if name != "sends":
            unsent |= ((1 << width) - 1) << shift  # 寄出的信不回头
        parts.append(f"({expression}) << {shift}")
        shift += width
    return (
        f'c_decl {{\n\\#define UNSENT {unsent}\n\\#include "history.h"\n{FORGETFUL_VIEW}}}\n'
        "int node = 1, last;\n"
        "#ifdef UNSEEN_MAILS\n#define SEEN_MAILS 0\n#else\n#define SEEN_MAILS 1\n#endif\n"
        "inline see() {\n"
        "  c_code {\n"
        f"    int seen = {' | '.join(parts)};\n"
        "    if (seen != now.last) { now.node = follow(now.node, seen); now.last = seen; }\n"
        "    int stale = OLDEST; /* 旧的投递谁取走都认领不了：随时可以丢，就此丢掉 */\n"
        "    for (int w = 0; w < WORKERS; w++) if (GONE(w)) {\n"
        f"      int sending = SEEN_MAILS && now.worker[w].stage[0] == {INTENDED};\n"
        "      memset(&now.worker[w], 0, sizeof now.worker[w]); /* 僵尸随时会死；正要寄信的还会寄，此外什么也不会 */\n"
        f"      if (sending) {{ now.worker[w].stage[0] = {INTENDED}; now.worker[w].step = 3; }}\n"
        "      if (sending) now.worker[w].job[0] = 1;\n"
        "    }\n"
        "    UNNOTED; /* 此后不再断：意向的记号用不上了 */\n"
        "    while (stale-- > 0) { now.waiting.bits[stale] = 0; now.incomplete.bits[stale] = 0; }\n"
        "  }\n"
        f"  if :: rests(0) && !task[0].outbox && free(0) -> c_code {{ follow(now.node, {END}); }} :: else fi\n"
        "}\n"
    )


def _closing(text: str) -> int:
    """配对的右花括号在哪里。"""
    depth = 1
    for place, character in enumerate(text):
        depth += {"{": 1, "}": -1}.get(character, 0)
        if depth == 0:
            return place
    raise LookupError("模型里的花括号不配对")


def compiled(rules: Rules, directory: Path, level: str = "-O0") -> None:
    """在 ``directory`` 里生成检查器 ``pan``；一套规则一次，此后判多少回都行；词多的值得优化（``level``）。

    Raises:
        subprocess.CalledProcessError: 接上观察者的模型编译不过。
    """
    (directory / "model.pml").write_text(observed(MODEL.read_text("utf-8")), "utf-8")
    (directory / OBSERVER.name).write_text(OBSERVER.read_text("utf-8"), "utf-8")
    switches = [f"-D{flag}" for flag in rules.flags]
    options = [f"-DMEMLIM={MEMORY}", "-DSAFETY", "-DNOREDUCE", "-DCOLLAPSE"]
    for command in (
        ["spin", "-a", *switches, "model.pml"],
        ["gcc", level, "-w", *options, "-o", "pan", "pan.c"],
    ):
        subprocess.run(command, cwd=directory, check=True, capture_output=True)


def possible(words: Iterable[Word], directory: Path) -> set[Word]:
    """``words`` 里模型走得出来的；须先 :func:`compiled`。

    Raises:
        AssertionError: 搜索没有走完，或模型自己的断言被违反。
    """
    nodes: dict[Word, int] = {(): 1}
    wanted = set(words)
    for word in wanted:
        for length in range(1, len(word) + 1):
            nodes.setdefault(word[:length], len(nodes) + 1)
    lines = [f"{nodes[path[:-1]]} {path[-1]}" for path in nodes if path]
    (directory / "words").write_text("\n".join([str(len(nodes)), *lines, ""]), "ascii")
    ran = subprocess.run(
        ["./pan", f"-m{DEPTH}", "-w22", "-E"], cwd=directory, capture_output=True, text=True, check=False
    )
    assert "errors: 0" in ran.stdout, ran.stdout + ran.stderr
    assert "Search not completed" not in ran.stdout, ran.stdout
    reached = {int(line) for line in (directory / "reached").read_text("ascii").split()}
    return {word for word in wanted if nodes[word] in reached}
