"""用量的来源：模拟器的卡群，不经网络。两边问的是同一个，差别因此只在写法。"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime

from kaguan.carriers.gateway import Capabilities, InfoResult, Page, StatusResult, UsageResult
from kaguan.database.pool import Connection
from kaguan.dev.simulator import Population, iccid_at
from kaguan.sims.cards import DayUsage
from kaguan.sims.vocabulary import Carrier
from tests.bench.comparison import MeasureError

PAGE = 1_000
BYTES_PER_KB = 1_024
FIRST_DAY = date(2026, 1, 1)
CARRIER = Carrier.ONELINK


class UsageSource:
    """只答得出日用量的网关。"""

    def __init__(self) -> None:
        self._population = Population()
        self._today = datetime.now(UTC).date()

    @property
    def carrier(self) -> Carrier:
        return CARRIER

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(max_batch=PAGE, page_size=0, per_second=1_000_000, max_concurrency=1)

    async def day_usage(self, iccids: Sequence[str], day: date) -> list[UsageResult]:
        answers: list[UsageResult] = []
        for iccid in iccids:
            usage = self._population.usage(iccid, day, self._today)
            answers.append(DayUsage(iccid, usage.kilobytes * BYTES_PER_KB, usage.sms, usage.revision))
        return answers

    async def statuses(self, iccids: Sequence[str]) -> list[StatusResult]:
        raise MeasureError(f"这里只有用量（问了 {len(iccids)} 张）")

    async def infos(self, iccids: Sequence[str]) -> list[InfoResult]:
        raise MeasureError(f"这里只有用量（问了 {len(iccids)} 张）")

    async def changed_between(self, since: datetime, until: datetime, page: int) -> Page:
        raise MeasureError(f"这里只有用量（{since} 到 {until}，第 {page} 页）")

    async def ping(self) -> None:
        return


async def stock(connection: Connection, cards: int) -> None:
    """把 ``cards`` 张卡放进空库存。"""
    async with (
        connection.cursor() as cursor,
        cursor.copy("copy tb_sim (iccid, carrier, luhn_valid) from stdin") as rows,
    ):
        for index in range(cards):
            await rows.write_row((iccid_at(CARRIER, index), CARRIER.value, True))
