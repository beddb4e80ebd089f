"""按号码找卡：任一种号码的开头或结尾，几个一起也行。"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from kaguan.database.paging import EXACT_COUNT_MAX
from kaguan.database.pool import Connection
from kaguan.database.sql import load
from kaguan.sims.vocabulary import PACKAGE
from kaguan.words.errors import invalid

TEXTS_MAX = 200
DIGITS_MIN, DIGITS_MAX = 4, 32
QUERY_MAX = 6_000  # 字；200 个 20 位的号码，连分隔，在一行请求里也放得下
FOUND_MAX = EXACT_COUNT_MAX  # 张；与列表的总数数到的一样多
ROWS_PER_CARD = 12  # 一张卡至多以这么多种方式对上一段
_BREAKS = re.compile(r"[\s,;，；、]+")
_DIGITS = re.compile(rf"[0-9]{{{DIGITS_MIN},{DIGITS_MAX}}}")


@dataclass(frozen=True, slots=True)
class Found:
    """找到的卡；``missing`` 是一张也没对上的那几段，照给的次序。"""

    ids: list[int]
    missing: list[str]


def texts_of(query: str) -> list[str]:
    """粘贴进来的几段号码：空白、逗号、分号、换行都隔开；连字符、``+``、ICCID 末尾填充的 F 去掉。

    Raises:
        DomainError: 1001，不是号码、太短，或太多。
    """
    texts = list(dict.fromkeys(_plain(text) for text in _BREAKS.split(query) if text))
    wrong = [text for text in texts if not _DIGITS.fullmatch(text)]
    if wrong or not texts:
        raise invalid(
            "q",
            f"应为号码或它的开头、结尾，{DIGITS_MIN} 到 {DIGITS_MAX} 位数字，几个之间用空白或逗号隔开",
            f"must be numbers or how they begin or end, {DIGITS_MIN} to {DIGITS_MAX} digits each,"
            " separated by blanks or commas",
        )
    if len(texts) > TEXTS_MAX:
        raise invalid("q", f"至多 {TEXTS_MAX} 个", f"at most {TEXTS_MAX} numbers")
    return texts


def _plain(text: str) -> str:
    return text.replace("-", "").removeprefix("+").rstrip("Ff")


async def find(connection: Connection, texts: Sequence[str]) -> Found:
    """号码以其中任一段开头或结尾的卡。

    Raises:
        DomainError: 1001，对得上的太多。
    """
    most = FOUND_MAX * ROWS_PER_CARD + 1
    parameters = {"texts": list(texts), "each": FOUND_MAX + 1, "up_to": most}
    cursor = await connection.execute(load(PACKAGE, "find"), parameters)
    rows = await cursor.fetchall()
    ids = dict.fromkeys(sim_id for _, sim_id in rows)
    if len(rows) == most or len(ids) > FOUND_MAX:
        raise invalid(
            "q",
            f"对得上的超过 {FOUND_MAX:,} 张，请多给几位",
            f"more than {FOUND_MAX:,} cards match: give more digits",
        )
    matched = {text for text, _ in rows}
    return Found(list(ids), [text for text in texts if text not in matched])
