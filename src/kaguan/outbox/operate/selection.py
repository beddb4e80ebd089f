"""试运行的凭据：选定了谁，装进一段文字随身带走，真做时原样交回。

选定的一个个写在里面，所以不必存、不会过期，哪个进程都认得。它不授予什么：真做仍要有权限，条件也仍要成立。
"""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import orjson
from pydantic import TypeAdapter, ValidationError

from kaguan.outbox.operate.replay import REPLAY_LIMIT, Preview, Replay, Selection
from kaguan.words.errors import Code, DomainError, refused
from kaguan.words.reasons import Reason, told
from kaguan.words.units import KIB

HEAD_LIMIT = 8 * KIB  # 字节；条件的 JSON
ENTRY = 20  # 字节：任务号 16，投递号 4（大端）
TEXT_LIMIT = 48 * KIB  # 字符；选满时约 18 千
_CRITERIA = TypeAdapter(Replay)


def encode(selection: Selection) -> str:
    """条件与选定的每一个。"""
    return listed(orjson.dumps(selection.replay.asked()), selection.shown)


def listed(head: bytes, shown: Sequence[tuple[UUID, int]]) -> str:
    """``head`` 一行，其后每个任务 ``ENTRY`` 字节。"""
    return packed(head + b"\n" + b"".join(task_id.bytes + delivery.to_bytes(4, "big") for task_id, delivery in shown))


def packed(raw: bytes) -> str:
    """凭据的文字：zlib，base64url。"""
    return base64.urlsafe_b64encode(zlib.compress(raw)).decode()


def unpacked(text: str, most: int, limit: int = TEXT_LIMIT) -> bytes:
    """:func:`packed` 的逆，至多 ``limit`` 个字符，展开至多 ``most`` 字节。

    Raises:
        DomainError: 1001，不是试运行给的，或不完整。
    """
    if len(text) > limit:
        raise spurious()
    try:
        inflater = zlib.decompressobj()
        raw = inflater.decompress(base64.b64decode(text, altchars=b"-_", validate=True), most)
    except (ValueError, binascii.Error, zlib.error):
        raise spurious() from None
    if not inflater.eof:
        raise spurious()
    return raw


def decode(text: str) -> Selection:
    """:func:`encode` 的逆；解压有上限。

    Raises:
        DomainError: 1001，不是试运行给的，或不完整。
    """
    head, shown = unlisted(text, REPLAY_LIMIT)
    try:
        return Selection(_CRITERIA.validate_json(head), shown)
    except ValidationError:
        raise spurious() from None


def unlisted(text: str, most: int) -> tuple[bytes, tuple[tuple[UUID, int], ...]]:
    """:func:`listed` 的逆，至多 ``most`` 个。

    Raises:
        DomainError: 1001，不是试运行给的，或不完整。
    """
    head, separator, entries = unpacked(text, HEAD_LIMIT + most * ENTRY, text_limit(most)).partition(b"\n")
    if not separator or len(entries) % ENTRY or len(entries) > most * ENTRY:
        raise spurious()
    return head, tuple(
        (UUID(bytes=entries[at : at + 16]), int.from_bytes(entries[at + 16 : at + ENTRY], "big", signed=True))
        for at in range(0, len(entries), ENTRY)
    )


def text_limit(most: int) -> int:
    """选满 ``most`` 个的凭据至多几个字符：压不小的也装得下。"""
    return max(TEXT_LIMIT, (HEAD_LIMIT + most * ENTRY) * 3 // 2 + KIB)


def answer(preview: Preview, language: str) -> dict[str, Any]:
    """试运行的应答，API 与命令行相同；原因用 ``language`` 说。

    ``preview`` 是凭据，没有选中谁也有：交回来就谁也不重放；选得比 HTTP 一次做的还多（只有命令行会）就没有。
    """
    token = encode(preview.selection) if preview.total <= REPLAY_LIMIT else None
    matched = [row | {"last_error": row["last_error"] and told(row["last_error"], language)} for row in preview.matched]
    return {
        "dry_run": True,
        "total": preview.total,
        "limited": preview.limited,
        "complete": preview.complete,
        "matching": preview.matching,
        "matched": matched,
        "preview": token,
    }


def spurious() -> DomainError:
    """不是试运行给的凭据，或不完整。"""
    return refused(Code.INVALID_PARAMETERS, Reason("outbox.preview"), "preview")
