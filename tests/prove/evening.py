"""一晚上：一个提交上的全部，一场接一场（``make prove P=all``）；停了再来，接着没跑的。

``make prove P=report`` 说哪一场是哪个提交的、成没成，README 引的哪几页过时了；退出码 1 即有没跑的、没成的、过时的。
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from tests.prove.campaigns import Campaign
from tests.prove.pages import history, stale
from tests.prove.reach import is_untouched
from tests.prove.rounds import EVIDENCE, Result, Round, current, keep, load, remaining
from tests.support.occasion import commit, machine
from tests.support.repository import ROOT

NAME: Final = "all"
DIRTY: Final = "工作树里有没提交的改动：跑出来的说不清是哪份代码的，先提交 / commit first\n"
# 不在一晚上里的：空机器上的几小时；上网的；只把图抄进文档的
APART: Final = frozenset({"fresh", "audit", "injection", "image", "screenshots"})

Play = Callable[[Campaign, list[str]], int]


def play(name: str, campaign: Campaign, run: Play) -> Result:
    began, started, before = datetime.now(UTC), time.monotonic(), _cpu()
    code = run(campaign, [])
    problems = [f"退出码 {code}"] if code else []
    seconds, spent = time.monotonic() - started, _cpu() - before
    when = began.strftime("%Y-%m-%d %H:%M UTC")
    return Result(name, 1, commit(), machine(), when, round(seconds), round(spent), problems)


def everything(
    campaigns: Mapping[str, Campaign], run: Play, folder: Path = ROOT / EVIDENCE, names: Sequence[str] = ()
) -> int:
    """每场之后记一行；给了 ``names`` 只跑它们。返回 1 即这份代码有一场没成。"""
    if not commit().isalnum():
        sys.stderr.write(DIRTY)
        return 2
    kept = folder / f"{NAME}.jsonl"
    chosen = [one for one in plan(campaigns) if not names or one.part in names]
    while todo := remaining(chosen, valid(load(kept), campaigns)):
        name = todo[0].part
        sys.stdout.write(f"{name}，还有 {len(todo)} 场……\n")
        sys.stdout.flush()
        keep(kept, play(name, campaigns[name], run))
    return int(any(one.problems for one in valid(load(kept), campaigns)))


def report(campaigns: Mapping[str, Campaign], folder: Path = ROOT / EVIDENCE) -> int:
    """印出每一场最近一次是哪个提交的，README 引的哪几页过时了。"""
    results = load(folder / f"{NAME}.jsonl")
    here = {one.part for one in valid(results, campaigns) if not one.problems}
    for name in (one.part for one in plan(campaigns)):
        latest = latest_of(name, results)
        told = "没跑过" if latest is None else f"{latest.commit[:12]}，{latest.began}"
        failed = latest is not None and latest.problems
        sys.stdout.write(f"  {name:<12} {'没成' if failed else '这份代码' if name in here else '——'}  {told}\n")
    unknown = history()
    old = {} if unknown else stale(campaigns)
    for page, why in old.items():
        sys.stdout.write(f"  {page:<22} 过时：{'；'.join(why)}\n")
    sys.stdout.write(f"引了而过时的页：{unknown or len(old)}\n")
    return int(bool(old) or here != {one.part for one in plan(campaigns)})


def valid(results: Sequence[Result], campaigns: Mapping[str, Campaign]) -> list[Result]:
    """从前跑的里，此后的改动没有碰到的：产品一字未改，改的用例它走不到。"""
    return current(results, lambda part, changed: part in campaigns and is_untouched(campaigns[part], changed))


def plan(campaigns: Mapping[str, Campaign]) -> list[Round]:
    return [Round(name, 1) for name in campaigns if name not in APART]


def latest_of(name: str, results: Sequence[Result]) -> Result | None:
    return next((one for one in reversed(results) if one.part == name), None)


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
