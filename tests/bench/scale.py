"""一次运行的规模：轮数、秒数、行数。"""

from __future__ import annotations

from dataclasses import dataclass, replace

CONNECTIONS = 32
LONGEST_READER = 120.0  # 秒
SIDES = 2


@dataclass(frozen=True, slots=True)
class Scale:
    """``seconds`` 是每轮施压的秒数；``warm`` 是每个对手开跑前预热的秒数，不计。

    Attributes:
        limit: 秒；全部加起来至多这么久，没轮到的写明没有量。
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
        pinned_seconds: 长事务旁边的稳态多少秒；每个长事务 ``reader_seconds`` 秒。
        flush_rounds: 清空 Redis 的，多少轮。
        memory_slice: 看内存的每一段压满多少秒。
        drift_seconds: 持续转交多少秒。
        bulk: 公平：别人先有多少个在等。
        guest_seconds: 客人的应用每秒一单的，每轮多少秒。
        mails: 寄信每轮多少封。
        slow_tasks: 互不牵连：慢的同步几个；``slow_rate`` 是运营商每秒至多答几次，至多 ``slow_workers`` 个 worker。
    """

    limit: float
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
    pinned_seconds: float
    reader_seconds: float
    bulk: int
    flush_rounds: int
    memory_slice: float
    drift_seconds: float
    guest_seconds: float
    mails: int
    slow_tasks: int
    slow_rate: int
    slow_workers: int

    def pinned_for(self, seconds: float | None) -> Scale:
        """长事务旁边的稳态换成这么多秒；每个长事务占几分之几不变，至多两分钟。总时限跟着放宽。"""
        if seconds is None:
            return self
        reader = min(LONGEST_READER, seconds * self.reader_seconds / self.pinned_seconds)
        more = max(0, SIDES * (seconds - self.pinned_seconds))
        return replace(self, pinned_seconds=seconds, reader_seconds=reader, limit=self.limit + more)


SHORT = Scale(
    limit=900,
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
    pinned_seconds=3,
    reader_seconds=2,
    bulk=1_000,
    flush_rounds=1,
    memory_slice=0.5,
    drift_seconds=2,
    guest_seconds=4,
    mails=60,
    slow_tasks=10,
    slow_rate=50,
    slow_workers=1,
)
DEFAULT = Scale(
    limit=2_700,
    rounds=3,
    seconds=2,
    warm=1,
    paced_seconds=4,
    relay_rows=12_000,
    backlog=200_000,
    tasks=10_000,
    usage_rows=300_000,
    windows=3,
    steady_seconds=3,
    history=10_000,
    idle_seconds=5,
    rival_rounds=3,
    pinned_seconds=15,
    reader_seconds=6,
    bulk=20_000,
    flush_rounds=1,
    memory_slice=1.5,
    drift_seconds=15,
    guest_seconds=12,
    mails=1_500,
    slow_tasks=40,
    slow_rate=50,
    slow_workers=1,
)
LONG = Scale(
    limit=10_800,
    rounds=5,
    seconds=5,
    warm=2,
    paced_seconds=20,
    relay_rows=30_000,
    backlog=1_000_000,
    tasks=100_000,
    usage_rows=1_000_000,
    windows=3,
    steady_seconds=15,
    history=100_000,
    idle_seconds=20,
    rival_rounds=3,
    pinned_seconds=900,
    reader_seconds=120,
    bulk=100_000,
    flush_rounds=1,
    memory_slice=75,
    drift_seconds=300,
    guest_seconds=60,
    mails=6_000,
    slow_tasks=100,
    slow_rate=5,
    slow_workers=2,
)
