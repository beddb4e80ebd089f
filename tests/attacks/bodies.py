"""大的请求体：敌意的，和每条路由最大的合法的。"""

from __future__ import annotations

import gzip
import json
import zlib
from base64 import b64encode
from os import urandom
from typing import Any

MIB = 1024 * 1024
CEILING = 16 * MIB
ICCID = "8986001234567890123"
ASTRAL = "\U0001f4e1"  # 一个字符，\\u 转义要十二个字节：最费的写法


def filled(head: bytes, unit: bytes, tail: bytes, size: int = CEILING) -> bytes:
    """``head``、许多 ``unit``、``tail``，共约 ``size`` 字节。"""
    return head + unit * ((size - len(head) - len(tail)) // len(unit)) + tail


def nested_lists(size: int = CEILING) -> bytes:
    return filled(b'{"a":[', b"[],", b"[]]}", size)


def bomb(size: int) -> bytes:
    """解开是 ``size`` 个零。"""
    stream = zlib.compressobj(9, wbits=zlib.MAX_WBITS | 16)
    return b"".join(stream.compress(bytes(MIB)) for _ in range(size // MIB)) + stream.flush()


def packed_lists() -> bytes:
    return gzip.compress(nested_lists())


def unknown_keys() -> bytes:
    return b'{"a":1' + b"".join(b',"k%d":1' % number for number in range(1_200_000)) + b"}"


def duplicate_keys() -> bytes:
    return filled(b'{"subject":"a"', b',"subject":"b"', b"}")


def packed(value: object, *, escaped: bool = False) -> bytes:
    """最紧的写法；``escaped`` 则每个非 ASCII 字符都写成转义。"""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=escaped).encode()


def largest_mail() -> bytes:
    """附件合计 10 MiB，两份正文各一百万字（另一份写不下这么多转义，故只这一份），收件人一百个。"""
    attachments = [attachment(MIB) for _ in range(10)]
    mail: dict[str, Any] = {
        "to": [f"somebody-{number}@example.com" for number in range(50)],
        "cc": [f"somebody-else-{number}@example.com" for number in range(50)],
        "subject": "s" * 998,
        "body": "行 \n" * 250_000,
        "html": '<p class="a">' * 76_900,
        "attachments": attachments,
        "request_id": "r" * 128,
        "priority": "critical",
        "schedule_at": "2026-01-01T00:00:00.000000+00:00",
    }
    return packed(mail)


def nameless_mail() -> bytes:
    """没有请求号的大邮件：每发一次就是一个新任务。"""
    return packed({"to": ["a@example.com"], "subject": "s", "body": "b", "attachments": [attachment(10 * MIB)]})


def attachment(size: int) -> dict[str, str]:
    return {
        "filename": "f" * 255,
        "content_type": "application/octet-stream",
        "content_base64": b64encode(urandom(size)).decode(),
    }


def largest_batch_of_mails() -> bytes:
    """一千封信，合计将近 16 MiB。"""
    items = [
        {
            "type": "email:send",
            "to": [f"a{number}@example.com" for number in range(50)],
            "cc": [f"b{number}@example.com" for number in range(50)],
            "subject": f"{index} 号",
            "body": "正文 ten:" * 1_100,
            "attachments": [
                {"filename": f"{number}.bin", "content_type": "a/b", "content_base64": "QUJD"} for number in range(10)
            ],
        }
        for index in range(1_000)
    ]
    return packed(items_of(items))


def largest_batch_of_cards() -> bytes:
    """七百多个任务，每个一千张卡，号码各不相同：骨架最大的合法请求体。"""
    per_task = 1_000
    size = len(packed(card_task(0, per_task))) + 1
    return packed(items_of([card_task(number * per_task, per_task) for number in range((CEILING - 32) // size)]))


def card_task(first: int, count: int) -> dict[str, Any]:
    numbers = range(int(ICCID) + first, int(ICCID) + first + count)
    return {"type": "sim:status_sync", "iccids": [str(number) for number in numbers]}


def items_of(items: list[dict[str, Any]]) -> dict[str, Any]:
    return {"tasks": items}


def largest_sims() -> bytes:
    """一千张卡，每个字段都最长，每个字都写成转义。"""
    long = ASTRAL * 64
    numbers = dict.fromkeys(("iccid", "eid", "msisdn", "imsi", "imei"), long)
    names = dict.fromkeys(("plan", "group", "customer"), ASTRAL * 50)
    card = {**numbers, **names, "carrier": "control_center", "tags": [ASTRAL * 20] * 10, "remark": ASTRAL * 500}
    return packed({"sims": [card] * 1_000}, escaped=True)


def registrable_sims() -> bytes:
    """一千张登记得进去的卡，备注各五百字。"""
    cards = [
        {
            "iccid": f"{8986001234567000000 + number}",
            "carrier": "onelink",
            "msisdn": "1064700000000",
            "imsi": "460040000000000",
            "imei": "490154203237518",
            "plan": "套餐" * 25,
            "group": "分组" * 25,
            "customer": "客户" * 25,
            "tags": [f"{tag}标签" * 6 for tag in range(10)],
            "remark": "备注" * 250,
        }
        for number in range(1_000)
    ]
    return packed({"sims": cards})


def largest_iccids() -> bytes:
    """一千个号码，夹满全角空格，每个字都写成转义。"""
    padded = "".join(f"\\u{ord(character):04x}" for character in ICCID + "\u3000" * (64 - len(ICCID)))
    return b",".join([b'"' + padded.encode() + b'"'] * 1_000)


def largest_change() -> bytes:
    """一千张卡，原因、套餐、请求号都写满。"""
    words = b"\\ud83d\\udce1"
    return b'{"change":"plan","plan":"%b","reason":"%b","request_id":"%b","iccids":[%b],"dry_run":false}' % (
        words * 64,
        words * 200,
        b"\\u0073" * 128,
        largest_iccids(),
    )


def largest_sim_task() -> bytes:
    name = b"\\u0073" * 128
    return b'{"request_id":"%b","ordering_key":"%b","priority":"critical","force_sync":false,"iccids":[%b]}' % (
        name,
        name,
        largest_iccids(),
    )


def many_small_errors() -> bytes:
    """一千张卡，每张六处错。"""
    card = {"iccid": 1, "carrier": 2, "msisdn": 3, "imsi": 4, "remark": 5}
    return packed({"sims": [card] * 1_000})


def many_batch_errors() -> bytes:
    """一千个任务，每个一百多处错。"""
    return packed(items_of([{"type": "email:send", "to": ["x"] * 100, "cc": [1] * 100}] * 1_000))
