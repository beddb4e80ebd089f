"""卡群：十万张卡不存在任何地方，全由序号与种子按需算出，所以启动不花时间、重启不变样。

一张卡存在，当且仅当：管理接口登记过；或它是 ``iccid_at(carrier, 0 … cards-1)`` 之一；或它的 Luhn 校验位正确且哈希
落在 95 % 之内（外来的卡，便于拿任意合规卡号试用）。每张卡每 30 天变一次状态，日子由序号定，使变更列表不必遍历。
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from hashlib import blake2b

from kaguan.sims.iccid import ISSUERS, Issuer, normalise, with_check_digit
from kaguan.sims.vocabulary import Carrier
from kaguan.words.units import DAY

DEFAULT_CARDS = 100_000
DEFAULT_SEED = 20_261

CYCLE = 30  # 天
WALK_IN_PERCENT = 95
CORRECTED_ONE_IN = 20
CORRECTION_LAG = timedelta(days=2)
IDLE_ONE_IN = 10
MAX_DAILY_KB = 4_096
SESSION = 900  # 秒
ONLINE_TENTHS = 7

_ISSUER = {Carrier.ONELINK: Issuer.CHINA_MOBILE, Carrier.CONTROL_CENTER: Issuer.CHINA_UNICOM}
_PREFIXES = {
    carrier: tuple(prefix for prefix, owner in ISSUERS.items() if owner is issuer)
    for carrier, issuer in _ISSUER.items()
}
# 原文状态及其权重（百分比）
_STATES: dict[Carrier, tuple[tuple[str, int], ...]] = {
    Carrier.ONELINK: (("2", 70), ("4", 12), ("1", 6), ("6", 4), ("7", 5), ("8", 3)),
    Carrier.CONTROL_CENTER: (
        ("ACTIVATED", 70),
        ("DEACTIVATED", 12),
        ("ACTIVATION_READY", 6),
        ("TEST_READY", 4),
        ("INVENTORY", 4),
        ("RETIRED", 2),
        ("PURGED", 1),
        ("REPLACED", 1),
    ),
}


_ACTIVE = frozenset({"2", "ACTIVATED"})


def iccid_at(carrier: Carrier, index: int) -> str:
    """卡群里第 ``index`` 张卡的 ICCID：19 位，真实号段，Luhn 正确，与种子无关。"""
    prefixes = _PREFIXES[carrier]
    prefix = prefixes[index % len(prefixes)]
    batch = _hash("batch", carrier, index) % 10_000  # 年份与省份的样子
    return with_check_digit(f"{prefix}{batch:04d}{index:08d}")


def _hash(*parts: object) -> int:
    return int.from_bytes(blake2b("|".join(map(str, parts)).encode(), digest_size=8).digest(), "big")


@dataclass(frozen=True, slots=True)
class Override:
    """管理接口登记的卡：给定状态、给定变更时刻，或声明不存在。"""

    state: str | None
    exists: bool
    at: datetime


@dataclass(frozen=True, slots=True)
class Usage:
    kilobytes: int
    sms: int
    revision: int


@dataclass(slots=True)
class Population:
    cards: int = DEFAULT_CARDS
    seed: int = DEFAULT_SEED
    overrides: dict[tuple[Carrier, str], Override] = field(default_factory=dict)

    def index_of(self, carrier: Carrier, iccid: str) -> int | None:
        """序号；不在卡群里给 ``None``。"""
        index = int(iccid[-9:-1])
        return index if index < self.cards and iccid_at(carrier, index) == iccid else None

    def exists(self, carrier: Carrier, iccid: str) -> bool:
        if (override := self.overrides.get((carrier, iccid))) is not None:
            return override.exists
        parsed = normalise(iccid)
        if parsed is None:
            return False
        if self.index_of(carrier, iccid) is not None:
            return True
        return parsed.luhn_valid and _hash("walk-in", self.seed, iccid) % 100 < WALK_IN_PERCENT

    def state(self, carrier: Carrier, iccid: str, at: datetime) -> str:
        """``at`` 时刻的状态原文。"""
        override = self.overrides.get((carrier, iccid))
        if override is not None and override.state is not None:
            return override.state
        point = _hash("state", self.seed, iccid, self.modified_at(carrier, iccid, at)) % 100
        for raw, weight in _STATES[carrier]:
            if point < weight:
                return raw
            point -= weight
        return _STATES[carrier][0][0]

    def online(self, carrier: Carrier, iccid: str, at: datetime) -> bool:
        """``at`` 所在的一刻钟里有没有数据会话；只有激活的卡会在线，其中七成在。"""
        active = self.state(carrier, iccid, at) in _ACTIVE
        return active and _hash("session", self.seed, iccid, int(at.timestamp()) // SESSION) % 10 < ONLINE_TENTHS

    def stop_reason(self, iccid: str) -> str:
        """停机原因的码，``01`` 到 ``05``。"""
        return f"{_hash('stop', self.seed, iccid) % 5 + 1:02d}"

    def modified_at(self, carrier: Carrier, iccid: str, at: datetime) -> datetime:
        """不晚于 ``at`` 的最近一次变更。"""
        if (override := self.overrides.get((carrier, iccid))) is not None:
            return override.at
        index = self.index_of(carrier, iccid)
        phase = _hash("phase", iccid) % CYCLE if index is None else index
        seconds = 0 if index is None else self._second_of_day(index // CYCLE)
        day = at.date() - timedelta(days=(at.toordinal() + phase) % CYCLE)
        moment = datetime.combine(day, time(), UTC) + timedelta(seconds=seconds)
        return moment if moment <= at else moment - timedelta(days=CYCLE)

    def changed(self, carrier: Carrier, since: datetime, until: datetime, skip: int, limit: int) -> list[str]:
        """最近一次变更在 ``since`` 与 ``until`` 之间的卡，按变更时刻升序，取 ``skip`` 之后至多 ``limit`` 张。

        登记过的卡离开原来的位置，排到末尾（登记就是此刻的变更）。
        """
        found: list[str] = []
        moved = {self.index_of(carrier, iccid) for owner, iccid in self.overrides if owner is carrier}
        for indices in self._segments(max(since, until - timedelta(days=CYCLE) + timedelta(seconds=1)), until):
            left = [index for index in indices if index not in moved] if moved else indices
            if skip >= len(left):
                skip -= len(left)
                continue
            chosen = left[skip : skip + limit - len(found)]
            skip = 0
            found.extend(iccid_at(carrier, index) for index in chosen)
            if len(found) == limit:
                return found
        registered = [
            iccid
            for (owner, iccid), override in sorted(self.overrides.items(), key=lambda item: item[1].at)
            if owner is carrier and override.exists and since <= override.at <= until
        ]
        return found + registered[skip : skip + limit - len(found)]

    def usage(self, iccid: str, day: date, today: date) -> Usage:
        """一天的用量；二十分之一的卡在两天后有一次更正（``revision`` 2）。"""
        draw = _hash("usage", self.seed, iccid, day)
        kilobytes = 0 if draw % IDLE_ONE_IN == 0 else (draw >> 8) % MAX_DAILY_KB
        corrected = _hash("correction", self.seed, iccid, day) % CORRECTED_ONE_IN == 0
        if corrected and today >= day + CORRECTION_LAG:
            return Usage(kilobytes + 1 + (draw >> 24) % 64, (draw >> 40) % 8, 2)
        return Usage(kilobytes, (draw >> 40) % 8, 1)

    def msisdn(self, carrier: Carrier, iccid: str) -> str:
        """物联网号码 13 位：移动 10647…，联通 10646…。"""
        prefix = "10647" if carrier is Carrier.ONELINK else "10646"
        return f"{prefix}{_hash('msisdn', iccid) % 10**8:08d}"

    def imsi(self, carrier: Carrier, iccid: str) -> str:
        prefix = "46004" if carrier is Carrier.ONELINK else "46006"
        return f"{prefix}{_hash('imsi', iccid) % 10**10:010d}"

    def activated_on(self, iccid: str) -> date:
        return date(2022, 1, 1) + timedelta(days=_hash("activated", iccid) % 1_000)

    def _second_of_day(self, rank: int) -> int:
        return DAY * rank // (self.cards // CYCLE + 1)

    def _segments(self, since: datetime, now: datetime) -> Iterator[range]:
        day = since.date()
        while day <= now.date():
            indices = range(-day.toordinal() % CYCLE, self.cards, CYCLE)
            midnight = datetime.combine(day, time(), UTC)
            ranks = range(len(indices))
            low = bisect_left(ranks, (since - midnight).total_seconds(), key=self._second_of_day)
            high = bisect_right(ranks, (now - midnight).total_seconds(), key=self._second_of_day)
            yield indices[low:high]
            day += timedelta(days=1)
