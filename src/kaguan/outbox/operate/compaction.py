"""过期的删过之后把空处还给文件系统：末尾做完了的挪到前面的空处，自动清理就截得短（docs/adr/0045）。"""

from __future__ import annotations

from dataclasses import dataclass

from kaguan.database.pool import STATEMENT_ERRORS, Connection
from kaguan.database.sql import load

PACKAGE = "kaguan.outbox.operate"
LOOSE = 1.5  # 占的是要的这么多倍，才值得挪；挪到这么多倍为止
BLOCKS = 32  # 一批至多这么多块，约四百行；从一块起，落得好就加倍
ROUNDS = 64  # 一块装不下更多版
BRIEF = "1s"  # 一条语句至多这么久


@dataclass(slots=True)
class Compaction:
    """从文件末尾往前，一批几块。

    Attributes:
        enough: 删了这么多行才看一眼。
        gone: 上一趟之后删了几行。
        timeout: 一条语句的时限，PostgreSQL 的写法。
    """

    enough: int
    gone: int = 0
    timeout: str = BRIEF
    _least: int = 0  # 这一趟挪到第几块为止
    _high: int = 0  # 这一趟挪到了第几块
    _blocks: int = 1

    async def run_once(self, connection: Connection) -> bool:
        """挪一批；还有的是真。没有删过什么，一条语句也没有。"""
        if self._high <= self._least and not (self.gone >= self.enough and await self._look(connection)):
            return False
        low = max(self._high - self._blocks, self._least)
        if not await _bring_forward(connection, low, self._high, self.timeout):
            low = self._least  # 前面没有空处了
        self._high, self._blocks = low, min(2 * self._blocks, BLOCKS)
        if low > self._least:
            return True
        self.gone, self.enough = 0, max(self.enough, low)  # 一块里删了一行，才再走一趟
        return False

    async def _look(self, connection: Connection) -> bool:
        """要不要走一趟。"""
        cursor = await connection.execute(load(PACKAGE, "spare_room"))
        blocks, living, dead = await cursor.fetchone() or (0, None, None)
        if living is None or blocks <= LOOSE * living:
            self.gone //= 2  # 统计也许还没报上来；几眼之后就不再看
            return False
        if blocks <= LOOSE * (living + dead):
            return False  # 等清理：空处还没腾出来
        self._high, self._least, self._blocks = blocks, int(LOOSE * living), 1
        return True


async def _bring_forward(connection: Connection, low: int, high: int, timeout: str) -> bool:
    """挪这几块；多半落在前面的是真。"""
    before = after = moved = 0
    try:
        async with connection.transaction():
            await connection.execute("select set_config('statement_timeout', %s, true)", (timeout,))
            for _ in range(ROUNDS):
                cursor = await connection.execute(load(PACKAGE, "bring_forward"), {"low": low, "high": high})
                ahead, behind, written = await cursor.fetchone() or (0, 0, 0)
                before, after = before + ahead, after + behind
                moved = written - ahead - behind
                if not moved:
                    break
    except STATEMENT_ERRORS:
        return False
    return before >= after + moved
