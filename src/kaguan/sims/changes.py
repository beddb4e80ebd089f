"""在运营商那里改卡：先看谁改得了、谁改不了，再受理，一张卡一个任务、一张回执。连接是参数，从不提交。"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, time
from typing import Annotated, Any
from uuid import UUID

import orjson
from psycopg.rows import class_row, dict_row
from psycopg.types.json import Jsonb
from pydantic import AwareDatetime, Field, TypeAdapter, ValidationError
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from kaguan.database.paging import PageRequest, Sort, page_statement
from kaguan.database.pool import AfterCommit, Connection
from kaguan.database.sql import load
from kaguan.outbox.accept.acceptance import Accepted, Count, Submission, accept_many, uncounted
from kaguan.outbox.errors import RequestIdReusedError
from kaguan.outbox.operate.selection import packed, spurious, unpacked
from kaguan.sims.change_rules import CardNow, Limits, refusal
from kaguan.sims.history import NEWEST
from kaguan.sims.model import Sim
from kaguan.sims.store import SimFilter
from kaguan.sims.tasks import CHANGING, SIM_CHANGE, SimChangePayload
from kaguan.sims.vocabulary import PACKAGE, Carrier, Change, ReceiptStatus
from kaguan.words.errors import not_found
from kaguan.words.log import get_logger
from kaguan.words.reasons import Reason
from kaguan.words.units import KIB
from kaguan.words.zones import BUSINESS_ZONE, business_today

log = get_logger(__name__)

CARDS_MAX = 1_000  # 一次至多点名几张
REASON_MAX = 200  # 字
RAW_LIMIT = 64 * KIB  # 字节；点满时约 24 千


@dataclass(frozen=True, slots=True)
class Wanted:
    """要改什么、为什么、哪几张。``iccids`` 是规范形，不重复；``limited``：按条件选的，还有没选进来的。"""

    change: Change
    reason: str
    iccids: Annotated[tuple[str, ...], Field(max_length=CARDS_MAX)]
    plan: str | None = None
    schedule_at: AwareDatetime | None = None
    limited: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """一张卡：``refusal`` 为空即会改，``behind`` 是它要排在哪个任务后面。"""

    card: CardNow
    refusal: Reason | None

    @property
    def iccid(self) -> str:
        return self.card.iccid


@dataclass(frozen=True, slots=True)
class Planned:
    """谁会改、谁不会、为什么；次序与点名的相同。"""

    wanted: Wanted
    verdicts: list[Verdict]

    @property
    def changing(self) -> list[Verdict]:
        return [verdict for verdict in self.verdicts if verdict.refusal is None]

    @property
    def refused(self) -> list[tuple[str, Reason]]:
        return [(verdict.iccid, verdict.refusal) for verdict in self.verdicts if verdict.refusal is not None]


@dataclass(frozen=True, slots=True)
class Asker:
    """谁要求的；``asked`` 是照收到的写法，同一个 ``request_id`` 再来时拿它比。"""

    name: str
    request_id: str | None
    asked: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class AcceptedChange:
    """受理的结果；``replayed``：同一个 ``request_id`` 又来了一次，这是头一次的。"""

    id: int
    accepted: int
    refused: int
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class ChangeRow:
    """一次要求。"""

    id: int
    change: str
    plan: str | None
    reason: str
    requested_by: str
    requested_at: datetime
    request_id: str | None
    schedule_at: datetime | None


@dataclass(frozen=True, slots=True)
class Receipt:
    """一张卡的回执：``reason`` 是没做成、还没做成的原因，``evidence`` 是凭什么说做成了。"""

    iccid: str
    task_id: UUID | None
    status: str
    reason: dict[str, Any] | None
    order_number: str | None
    evidence: dict[str, Any] | None
    called_at: datetime | None
    settled_at: datetime | None


@dataclass(frozen=True, slots=True)
class CardChange:
    """一张卡的一次变更，连同它的回执；``receipt_id`` 用来翻页。"""

    receipt_id: int
    row: ChangeRow
    receipt: Receipt


async def chosen(connection: AsyncConnection, wanted: SimFilter, limit: int) -> tuple[tuple[str, ...], bool]:
    """条件选中的卡，老的在前，至多 ``limit`` 张；后一项：还有没选进来的。"""
    request = PageRequest(page_size=limit, sort=Sort.OLDEST)
    iccids = tuple(await connection.scalars(page_statement(select(Sim.iccid), wanted.criteria(), request)))
    return iccids[:limit], len(iccids) > limit


async def preview(connection: Connection, wanted: Wanted, limits: Limits) -> Planned:
    """此刻会改谁；什么也不动。"""
    since = datetime.combine(business_today(), time(), BUSINESS_ZONE)
    parameters = {"iccids": list(wanted.iccids), "principal": CHANGING, "since": since, "most": limits.per_day}
    async with connection.cursor(row_factory=class_row(CardNow)) as cursor:
        await cursor.execute(load(PACKAGE, "change_cards"), parameters)
        cards = await cursor.fetchall()
    return Planned(wanted, [Verdict(card, refusal(card, wanted.change, wanted.plan, limits)) for card in cards])


async def accept(
    connection: Connection,
    wanted: Wanted,
    asker: Asker,
    limits: Limits,
    after_commit: AfterCommit,
    count: Count = uncounted,
) -> AcceptedChange:
    """受理，连接已在事务中：改得了的各一个任务，改不了的在回执里说明。一千张也只有五条语句。

    Raises:
        RequestIdReusedError: ``request_id`` 已用于别的要求。
    """
    change_id = await _insert(connection, wanted, asker)
    if change_id is None:
        return await _first(connection, asker)
    await connection.execute(load(PACKAGE, "change_lock"), {"iccids": list(wanted.iccids)})
    planned = await preview(connection, wanted, limits)
    submissions = [_submission(verdict.card, change_id, wanted) for verdict in planned.changing]
    # 每个都有自己的次数，这里给的用不着
    accepted = await accept_many(connection, submissions, SIM_CHANGE.max_attempts or 1, after_commit, count)
    taken = {
        verdict.iccid: one.task_id
        for verdict, one in zip(planned.changing, accepted, strict=True)
        if isinstance(one, Accepted)
    }
    parameters = {
        "change_id": change_id,
        "iccids": [verdict.iccid for verdict in planned.verdicts],
        "sim_ids": [verdict.card.id for verdict in planned.verdicts],
        "accepted": [taken.get(verdict.iccid) for verdict in planned.verdicts],
        "refusals": [verdict.refusal and Jsonb(verdict.refusal.stored()) for verdict in planned.verdicts],
    }
    await connection.execute(load(PACKAGE, "change_receipts"), parameters)
    done = AcceptedChange(change_id, len(taken), len(planned.refused))
    facts = {"change_id": change_id, "change": wanted.change, "accepted": done.accepted, "refused": done.refused}
    after_commit(lambda: log.info("受理卡的变更", actor=asker.name, **facts))
    return done


async def get(connection: Connection, change_id: int) -> tuple[ChangeRow, list[Receipt]]:
    """一次要求与它的回执。

    Raises:
        DomainError: 1004，没有这一次。
    """
    async with connection.cursor(row_factory=class_row(ChangeRow)) as cursor:
        await cursor.execute(load(PACKAGE, "change"), {"change_id": change_id})
        found = await cursor.fetchone()
    if found is None:
        raise not_found("变更", "change")
    async with connection.cursor(row_factory=class_row(Receipt)) as cursor:
        await cursor.execute(load(PACKAGE, "receipts"), {"change_id": change_id})
        return found, await cursor.fetchall()


def counts(receipts: Sequence[Receipt]) -> dict[str, int]:
    """各种状态各几张。"""
    return {status.value: sum(one.status == status for one in receipts) for status in ReceiptStatus}


async def of_card(connection: Connection, iccids: Sequence[str], limit: int, before: int = NEWEST) -> list[CardChange]:
    """一张卡（用过的全部 ICCID）的变更，新的在前，至多 ``limit`` 次。"""
    parameters = {"iccids": list(iccids), "before": before, "limit": limit}
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(load(PACKAGE, "card_changes"), parameters)
        rows = await cursor.fetchall()
    return [_card_change(row) for row in rows]


_WANTED = TypeAdapter(Wanted)


def encode(planned: Planned) -> str:
    """试运行的凭据：会改的那几张，连同要改什么、为什么。"""
    wanted = {**asdict(planned.wanted), "iccids": [verdict.iccid for verdict in planned.changing]}
    return packed(orjson.dumps(wanted))


def decode(text: str) -> Wanted:
    """:func:`encode` 的逆。

    Raises:
        DomainError: 1001，不是试运行给的，或不完整。
    """
    try:
        return _WANTED.validate_json(unpacked(text, RAW_LIMIT))
    except ValidationError:
        raise spurious() from None


async def _insert(connection: Connection, wanted: Wanted, asker: Asker) -> int | None:
    parameters = {
        "change": wanted.change,
        "plan": wanted.plan,
        "reason": wanted.reason,
        "requested_by": asker.name,
        "request_id": asker.request_id,
        "schedule_at": wanted.schedule_at,
        "asked": Jsonb(dict(asker.asked)),
        "cards": len(wanted.iccids),
    }
    row = await (await connection.execute(load(PACKAGE, "change_insert"), parameters)).fetchone()
    return None if row is None else row[0]


async def _first(connection: Connection, asker: Asker) -> AcceptedChange:
    parameters = {
        "requested_by": asker.name,
        "request_id": asker.request_id,
        "asked": Jsonb(dict(asker.asked)),
    }
    row = await (await connection.execute(load(PACKAGE, "change_of_request"), parameters)).fetchone()
    if row is None or not row[1]:
        raise RequestIdReusedError
    return AcceptedChange(row[0], row[2], row[3], replayed=True)


def _submission(card: CardNow, change_id: int, wanted: Wanted) -> Submission[SimChangePayload]:
    payload = SimChangePayload(
        change_id=change_id,
        iccid=card.iccid,
        carrier=Carrier(str(card.carrier)),
        change=wanted.change,
        plan=wanted.plan,
    )
    return Submission(SIM_CHANGE, payload, principal=CHANGING, schedule_at=wanted.schedule_at, ordering_key=card.iccid)


def _card_change(row: Mapping[str, Any]) -> CardChange:
    change = ChangeRow(**{name: row[name] for name in ChangeRow.__dataclass_fields__})
    receipt = Receipt(**{name: row[name] for name in Receipt.__dataclass_fields__} | {"reason": row["refusal"]})
    return CardChange(row["receipt_id"], change, receipt)
