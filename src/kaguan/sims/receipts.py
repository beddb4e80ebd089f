"""回执给人看的样子：API、命令行、控制台与 CSV 同一套。"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from kaguan.sims.changes import ChangeRow, Receipt
from kaguan.sims.sheet import Column, titles
from kaguan.sims.vocabulary import ReceiptStatus
from kaguan.words import spreadsheet
from kaguan.words.reasons import Reason

CANCELLED = Reason("sims.cancelled")  # 失败而没有原因的，是人取消的
COLUMNS: Sequence[Column] = (
    Column("iccid", "ICCID", "ICCID"),
    Column("status", "结果", "Outcome"),
    Column("reason", "原因", "Reason"),
    Column("order_number", "运营商单号", "Order at the carrier"),
    Column("evidence", "凭据", "Evidence"),
    Column("change", "变更", "Change"),
    Column("plan", "套餐", "Plan"),
    Column("requested_by", "谁要求的", "Requested by"),
    Column("requested_at", "何时要求的", "Requested at"),
    Column("called_at", "何时去做的", "Called at"),
    Column("settled_at", "何时定论的", "Settled at"),
    Column("task_id", "任务", "Task"),
)


def told(row: ChangeRow, receipt: Receipt, language: str) -> dict[str, Any]:
    """一张回执，原因用读者的语言说。"""
    why = receipt.reason or (CANCELLED.stored() if receipt.status == ReceiptStatus.FAILED else None)
    return {
        "iccid": receipt.iccid,
        "task_id": receipt.task_id,
        "status": receipt.status,
        "reason": why and Reason.of(why).text(language),
        "order_number": receipt.order_number,
        "evidence": receipt.evidence,
        "requested_by": row.requested_by,
        "requested_at": row.requested_at,
        "called_at": receipt.called_at,
        "settled_at": receipt.settled_at,
    }


def receipt_file(row: ChangeRow, receipts: Sequence[Receipt], language: str) -> str:
    """一次变更的回执，CSV。"""
    lines = [titles(COLUMNS, language)]
    for receipt in receipts:
        shown = {**told(row, receipt, language), "change": row.change, "plan": row.plan}
        shown["iccid"] = spreadsheet.kept_whole(receipt.iccid)
        shown["evidence"] = receipt.evidence and orjson.dumps(receipt.evidence).decode()
        lines.append([shown[column.name] for column in COLUMNS])
    return spreadsheet.write(lines)
