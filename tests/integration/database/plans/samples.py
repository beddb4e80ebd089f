"""语句参数的样值：按 PostgreSQL 推断出的类型，类型说明不了的按名字。"""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

from kaguan.outbox.vocabulary import LAST_ID

ICCID = "89860000000000001999"
TASK = UUID("018bcfe5-68c9-7000-8000-000000000009")
FIRST = UUID("018bcfe5-6801-7000-8000-000000000000")
BY_TYPE: dict[str, Any] = {
    "bigint": 1, "bytea": bytes(32), "date": "2026-01-15", "double precision": 60.0, "integer": 100,
    "interval": "1 day", "jsonb": "{}", "name": "x", "smallint": 1, "text": "x", "uuid": TASK,
    "timestamp with time zone": "2026-01-15", "boolean": True, "real": 1.0, "numeric": 1,
}  # fmt: skip
BY_NAME: dict[tuple[str, str], Any] = {
    ("status", "text"): "failed", ("iccid", "text"): ICCID, ("iccids", "text[]"): [ICCID], ("principal", "text"): "p",
    ("key", "text"): "k1", ("type", "text"): None, ("queue", "text"): None, ("request_id", "text"): None,
    ("worker", "text"): "w1", ("since", "uuid"): UUID(int=0), ("until", "uuid"): LAST_ID, ("before", "uuid"): LAST_ID,
    ("priorities", "smallint[]"): [0, 1, 2], ("rooms", "integer[]"): [100, 100, 100],
    ("rows", "json"): json.dumps([{"id": str(TASK), "principal": "p", "request_id": "r1", "ordering_key": "k1"}]),
    ("rows", "jsonb"): json.dumps([{"iccid": "8986" + "7" * 16, "carrier": "onelink", "tags": [], "luhn_valid": True}]),
    ("texts", "text[]"): [ICCID, "10647"], ("before", "bigint"): 10**9,
    ("change", "text"): "plan",
    ("up_to", "bigint"): 1_000_001,
    ("accepted", "uuid[]"): [LAST_ID], ("cap", "bigint"): 10_000, ("cap", "integer"): 10_000,
}  # fmt: skip


def sample(name: str, kind: str) -> object:
    """一个合乎类型的参数值。"""
    if (name, kind) in BY_NAME:
        return BY_NAME[name, kind]
    element = kind.removesuffix("[]")
    return BY_TYPE[element] if element == kind else [BY_TYPE[element]]
