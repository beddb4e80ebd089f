"""走完全程的用例：每个任务变过的样子由触发器记下，用例末了由协议的模型判走不走得出来（docs/evidence/MODEL.md「历史」）。

判过的形状列在 ``known_histories.txt`` 里，认得的不再问模型；``HISTORIES=write`` 把新的并进去。
模型变了（头一行是它的指纹），清单就不算数，逐个再问；``python -m tests.support.judging`` 全部重判，走不出来的去掉。
自己动手改任务行的用例写明缘由：``@pytest.mark.unjudged("…")``；不是缺省的规则：``@pytest.mark.protocol(resend=True)``。
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import astuple, dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import LiteralString

import psycopg
import pytest

from tests.chaos.histories import steps, told, word
from tests.chaos.history_rules import allowed, can_judge
from tests.chaos.recording import READ, Recorded, installing, recorded
from tests.chaos.verdict import MAIL
from tests.model import history as model_history
from tests.model.history import END, OBSERVER, Rules, Word
from tests.model.spin import MODEL
from tests.support.fault_plant import EFFECT_TABLE, EFFECTS

KNOWN = Path(__file__).with_name("known_histories.txt")
FOLDERS = ("/integration/outbox/", "/test_fault_", "/integration/mail/", "/e2e/")
# 真的邮件处理器记过收件人的，没记意向也是寄信的
LETTERS: LiteralString = """
    create trigger chaos_letter after insert on tb_email_delivery
    for each row execute function chaos_record_mark('letter')
"""
TASKS, STRANGE = "histories", "strange_histories"  # 用例报告里的名字
WRITE = os.environ.get("HISTORIES") == "write"
LEDGER, OTHER = "sim:status_sync", "other"  # 效果记在表里的；成功就算生效的
Known = dict[Rules, set[Word]]


def install(url: str) -> None:
    """``url`` 的库从此记历史；是模板，由它抄出来的都记。"""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(EFFECT_TABLE)
        connection.execute(installing(EFFECTS))
        connection.execute(LETTERS)


def read(url: str) -> list[Recorded]:
    """记下的历史，各是哪一种：寄信的、效果记在表里的，还是成功就算生效的。"""
    with psycopg.connect(url, autocommit=True) as connection:
        histories = recorded(connection.execute(READ).fetchall())
    ledger = LEDGER if any(change.what == "effect" for one in histories for change in one.changes) else OTHER
    return [_dressed(history, ledger) for history in histories]


def _dressed(history: Recorded, ledger: str) -> Recorded:
    first, *others = history.changes
    is_mail = any(change.what == "letter" or change.became.split(" ")[5:6] == ["1"] for change in history.changes)
    ordered = first.was.partition(" ")[2]
    kept = [change for change in others if change.what != "letter" and not (is_mail and change.what == "effect")]
    return replace(history, changes=(first._replace(was=f"{MAIL if is_mail else ledger} {ordered}"), *kept))


@dataclass(slots=True)
class Judge:
    """一个进程一个；``known`` 是各种规则之下认得的，连同它们的每一段开头。"""

    known: Known = field(default_factory=dict)
    fresh: list[str] = field(default_factory=list)

    def examine(self, histories: Iterable[Recorded], rules: Rules) -> tuple[list[str], int]:
        """协议走不出来的，与判不了的（没有 Spin 而不认得）几种。"""
        shapes = {begun(history): history for history in histories}
        known = self.known.setdefault(rules, set())
        strange = shapes.keys() - known
        if not strange:
            return [], 0
        if not can_judge():
            return [], len(strange)
        found = allowed(strange, rules)
        for one in found:
            known |= set(prefixes(one))
        self.fresh += [line_of(one, rules) for one in found]
        refused = [shapes[one] for one in strange - found]
        return [f"{one.task_id}：{' → '.join(map(told, steps(one)))}" for one in refused], 0


def begun(history: Recorded) -> Word:
    """它的词，没有走到头的也行。"""
    whole = word(steps(history), mail=history.mail)
    return whole[:-1] if whole[-1:] == (END,) else whole


def prefixes(one: Word) -> Iterator[Word]:
    return (one[:length] for length in range(len(one) + 1))


# ---- 认得的


def line_of(one: Word, rules: Rules) -> str:
    return f"{','.join(str(int(value)) for value in astuple(rules))} {' '.join(f'{letter:x}' for letter in one)}"


def listed(lines: Iterable[str]) -> dict[Rules, set[Word]]:
    found: dict[Rules, set[Word]] = {}
    for line in lines:
        name, *letters = line.split(" ")
        attempts, lost, *switches = map(int, name.split(","))
        rules = Rules(attempts, lost, *map(bool, switches))
        found.setdefault(rules, set()).add(tuple(int(letter, 16) for letter in letters))
    return found


def fingerprint() -> str:
    """判它们的模型与观察者。"""
    return sha256(b"".join(path.read_bytes() for path in (MODEL, OBSERVER, Path(model_history.__file__)))).hexdigest()


def stored() -> tuple[str, list[str]]:
    """清单的指纹与各行。"""
    mark, *lines = KNOWN.read_text("ascii").splitlines()
    return mark, lines


def load() -> Judge:
    mark, lines = stored()
    found = listed(lines) if mark == fingerprint() else {}
    return Judge({rules: {start for one in words for start in prefixes(one)} for rules, words in found.items()})


def write(lines: Iterable[str]) -> None:
    """别的词的开头不必另写。"""
    told_of = sorted(set(lines))
    longest = [one for one, after in zip(told_of, [*told_of[1:], ""], strict=True) if not after.startswith(f"{one} ")]
    KNOWN.write_text("".join(f"{line}\n" for line in (fingerprint(), *longest)), "ascii")


def rejudged() -> tuple[list[str], list[str]]:
    """清单里的全部再问模型一遍：走得出来的，与不再走得出来的。"""
    _, lines = stored()
    good = [line_of(one, rules) for rules, words in listed(lines).items() for one in allowed(words, rules)]
    return good, sorted(set(lines) - set(good))


# ---- 用例


def is_judged(item: pytest.Item) -> bool:
    return any(folder in item.path.as_posix() for folder in FOLDERS) and item.get_closest_marker("unjudged") is None


def rules_of(item: pytest.Item) -> Rules:
    marker = item.get_closest_marker("protocol")
    return Rules(arrivals=False, **(marker.kwargs if marker else {}))


def judged(item: pytest.Item, url: str, judge: Judge) -> list[str]:
    """协议走不出来的；判了几个，记在用例的报告里。"""
    histories = read(url)
    refused, unknown = judge.examine(histories, rules_of(item))
    item.user_properties += [(TASKS, len(histories)), (STRANGE, unknown)]
    return [*refused, *(f"{one.task_id}：记录接不上" for one in histories if one.broken)]


def summary(reports: Iterable[pytest.TestReport]) -> str:
    """这一次判了多少。"""
    told_of = [pair for report in reports if report.when == "teardown" for pair in report.user_properties]
    tasks, strange = ([int(str(value)) for key, value in told_of if key == name] for name in (TASKS, STRANGE))
    tests = sum(count > 0 for count in tasks)
    return f"历史：判了 {tests} 个用例的 {sum(tasks)} 个任务；没有 Spin 而不认得的形状 {sum(strange)} 种"


if __name__ == "__main__":
    possible, refused = rejudged()
    write(possible)
    sys.stdout.write("".join(f"走不出来：{line}\n" for line in refused) + f"走得出来的 {len(possible)} 种\n")
    sys.exit(bool(refused))
