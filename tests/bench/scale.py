"""一次运行的规模：轮数、秒数、行数。"""

from __future__ import annotations

from dataclasses import dataclass

CONNECTIONS = 32


@dataclass(frozen=True, slots=True)
class Scale:
    """``seconds`` 是每轮施压的秒数；``warm`` 是每个对手开跑前预热的秒数，不计。

    Attributes:
        rounds: A B A B … 各多少轮。
        paced_seconds: 定速施压的秒数。
        relay_rows: 转交测量每轮计时的行数。
        backlog: 大积压的行数。
        tasks: 全程测量每轮的任务数。
        usage_rows: 用量同步每轮写入的行数。
        windows: 稳态各量几段，每段 ``steady_seconds`` 秒。
        history: 量检查点之后的 WAL 之前，库里先有多少做完的任务。
        idle_seconds: 无事可做的每段多少秒。
        rival_rounds: 几个对手轮流跑的，各多少轮。
    """

    rounds: int
    seconds: float
    warm: float
    paced_seconds: float
    relay_rows: int
    backlog: int
    tasks: int
    usage_rows: int
    windows: int
    steady_seconds: float
    history: int
    idle_seconds: float
    rival_rounds: int


SHORT = Scale(
    rounds=2,
    seconds=1,
    warm=0.5,
    paced_seconds=2,
    relay_rows=3_000,
    backlog=20_000,
    tasks=1_000,
    usage_rows=20_000,
    windows=2,
    steady_seconds=1,
    history=1_000,
    idle_seconds=1,
    rival_rounds=1,
)
DEFAULT = Scale(
    rounds=5,
    seconds=3,
    warm=1,
    paced_seconds=5,
    relay_rows=12_000,
    backlog=200_000,
    tasks=20_000,
    usage_rows=1_000_000,
    windows=3,
    steady_seconds=7,
    history=20_000,
    idle_seconds=7,
    rival_rounds=3,
)
LONG = Scale(
    rounds=9,
    seconds=5,
    warm=2,
    paced_seconds=20,
    relay_rows=30_000,
    backlog=1_000_000,
    tasks=100_000,
    usage_rows=1_000_000,
    windows=5,
    steady_seconds=20,
    history=100_000,
    idle_seconds=20,
    rival_rounds=5,
)
