"""压缩的正文：被拒的一个字节也不解，受理的一小块一小块地解。"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
from aiohttp import web
from prometheus_client import CollectorRegistry

from kaguan.config.model import Carriers
from kaguan.dev.simulator import Population
from kaguan.dev.simulator.__main__ import runner_of
from kaguan.dev.simulator.world import World
from kaguan.flow.inflating import PIECE
from kaguan.telemetry.exposition import serve_metrics
from kaguan.words.errors import Code
from tests.support.folded import folded
from tests.support.places import own_port
from tests.support.raw_http import exchange
from tests.support.serving import Api

MAIL = "/api/v1/tasks/email"


@cache
def packed() -> bytes:
    """解开有 50 MB。"""
    return gzip.compress(b'{"a": "' + b" " * 50_000_000 + b'"}', 9)


class Counted:
    """``zlib`` 的一个解压流，记下解出的每一块。"""

    def __init__(self, stream: Any, pieces: list[int]) -> None:
        self._stream = stream
        self._pieces = pieces

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def decompress(self, *given: Any, **named: Any) -> bytes:
        plain: bytes = self._stream.decompress(*given, **named)
        self._pieces.append(len(plain))
        return plain


@pytest.fixture
def inflated(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """其间解出的每一块的大小，不管是谁解的。"""
    pieces: list[int] = []
    made = zlib.decompressobj

    def counted(*given: Any, **named: Any) -> Counted:
        return Counted(made(*given, **named), pieces)

    monkeypatch.setattr("zlib.decompressobj", counted)
    return pieces


def posting(path: str, body: bytes, authorization: str = "", method: str = "POST", encoding: str = "gzip") -> bytes:
    return (
        f"{method} {path} HTTP/1.1\r\nHost: x\r\n{authorization}Content-Type: application/json\r\n"
        f"Content-Encoding: {encoding}\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body


@folded(
    ("path", "method", "status"),
    [
        ("/nope", "POST", 404),
        (MAIL, "POST", 401),
        (MAIL, "DELETE", 405),
        ("/health/live", "POST", 405),
        ("/console/login", "POST", 403),
    ],
)
async def test_nothing_of_a_refused_body_is_inflated(
    api: Api, inflated: list[int], path: str, method: str, status: int
) -> None:
    assert (await exchange(*api.address, posting(path, packed(), method=method))).status == status
    assert inflated == []


async def test_a_route_without_a_body_inflates_no_more_than_it_takes(api: Api, inflated: list[int]) -> None:
    assert (await exchange(*api.address, posting("/health", packed(), method="GET"))).status == 400
    assert inflated == []


async def test_what_is_inflated_comes_in_small_pieces_up_to_the_limit_of_the_route(
    api: Api, inflated: list[int]
) -> None:
    bearer = f"Authorization: Bearer {api.token}\r\n"
    refused = await exchange(*api.address, posting("/api/v1/users", packed(), bearer))
    assert (refused.status, refused.envelope["code"]) == (413, Code.BODY_TOO_LARGE)
    assert max(inflated) <= PIECE
    assert sum(inflated) <= 64 * 1024 + PIECE


@folded(
    ("encoding", "pack"),
    [
        ("gzip", gzip.compress),
        ("GZIP", gzip.compress),
        ("deflate", zlib.compress),
        ("deflate", lambda raw: zlib.compress(raw, wbits=-zlib.MAX_WBITS)),
        ("identity", bytes),
    ],
)
async def test_an_admitted_body_is_understood(api: Api, encoding: str, pack: Callable[[bytes], bytes]) -> None:
    body = pack(b'{"to": ["a@example.com"], "subject": "s", "body": "b"}')
    accepted = await exchange(
        *api.address, posting(MAIL, body, f"Authorization: Bearer {api.token}\r\n", encoding=encoding)
    )
    assert accepted.status == 202, accepted.envelope


@folded(
    ("encoding", "body", "status", "code"),
    [
        ("gzip", gzip.compress(b"{}")[:-1], 400, Code.MALFORMED_JSON),
        ("gzip", gzip.compress(b"{}") + b"{}", 400, Code.MALFORMED_JSON),
        ("deflate", b"\xff\xff\xff", 400, Code.MALFORMED_JSON),
        ("br", b"{}", 415, Code.UNSUPPORTED_MEDIA_TYPE),
        ("gzip, gzip", gzip.compress(gzip.compress(b"{}")), 415, Code.UNSUPPORTED_MEDIA_TYPE),
    ],
)
async def test_what_cannot_be_inflated_is_refused_in_words(
    api: Api, encoding: str, body: bytes, status: int, code: Code
) -> None:
    request = posting(MAIL, body, f"Authorization: Bearer {api.token}\r\n", encoding=encoding)
    refused = await exchange(*api.address, request)
    assert (refused.status, refused.envelope["code"]) == (status, code)


async def test_the_metrics_port_inflates_nothing(inflated: list[int]) -> None:
    port = own_port()
    async with serve_metrics(CollectorRegistry(), "127.0.0.1", port):
        for method, status in (("POST", 405), ("GET", 200)):
            reply = await exchange("127.0.0.1", port, posting("/metrics", packed(), method=method))
            assert reply.status == status
    assert inflated == []


async def test_the_simulator_inflates_nothing(inflated: list[int]) -> None:
    runner = runner_of(World(Population(1), Carriers()))
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        for path, status in (("/nope", 404), ("/__admin/faults", 400)):
            reply = await exchange(host, port, posting(path, packed(), method="PUT"))
            assert reply.status == status
    finally:
        await runner.cleanup()
    assert inflated == []
