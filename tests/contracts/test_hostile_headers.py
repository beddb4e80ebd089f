"""不认证的人用请求头、路径能引出的 500：一个也没有。先是见过的，再是模糊测试。

默认的例子是固定的；``KAGUAN_FUZZ_EXAMPLES=20000`` 跑大的，随机种子另取。
"""

from __future__ import annotations

import asyncio
import base64
import os
import re
from collections.abc import AsyncIterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kaguan.config import load_settings
from tests.support.console import signed_in
from tests.support.eventually import PATIENCE
from tests.support.folded import folded
from tests.support.serving import Api, serving

EXAMPLES = int(os.environ.get("KAGUAN_FUZZ_EXAMPLES", "0"))
PROBING = re.compile(rb"^\w+ (/api/v1)?/health")
AT_ONCE = 8  # 一个例子里的请求数：逐个建连接太慢
HOST = b"127.0.0.1:8080"
FORM = b"application/x-www-form-urlencoded"
ODD = [
    b"http://[", b"http://[::1", b"http://[x]", "http://℀/".encode(), "http://a／b".encode(), b"\xff", b"null",
    b"http://a]b", b"//[", b"http://a:99999", b"http://a:b", b"", b" ", b"\t", b"\x7f", b"\xc3\x28", b"a" * 7_000,
    b'"', b",", b";", b"=", b"%", b"%ff", b"-1", b"9" * 400, b"\xf0\x9f\x93\xa1", b"Basic \xff", b"Basic Og==",
    b"Basic /w==", b"Basic " + base64.b64encode(b":\xff"), b"Basic \xc3\xa9", b"basic", b"Bearer \xff",
    b"Bearer kg_\xff",
    b"bytes=0-", b"bytes=-1", b"bytes=9-1", b"bytes=0-0,1-1", b"bytes=x", b"text/html", b"gzip", b"br", b"identity",
    b"chunked", b"gzip, chunked", b"application/json", b"application/json; charset=\xff", b'text/x; a="', b"/", FORM,
    b"00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-01", b"ff-x", b'"1"', b'W/"1"', b"*", b"en;q=x", b"en;q=1e999",
    b"1.1.1.1, \xff", b"::1%eth0", b"same-origin", b"cross-site", b"kaguan_session=" + b"a" * 43,
    b"kaguan_session=\xff", b'kaguan_session="\\377"', b'kaguan_notice="<b>|9"; kaguan_language=../x', b"a=b;" * 500,
    b"Mon, 99 Foo 9999 99:99:99 GMT", b"100-continue", b"websocket", b"close, keep-alive",
]  # fmt: skip
NAMES = [
    b"Host", b"Origin", b"Referer", b"Cookie", b"Authorization", b"X-Forwarded-For", b"X-Forwarded-Proto",
    b"Forwarded",
    b"traceparent", b"tracestate", b"baggage", b"If-Match", b"If-None-Match", b"If-Modified-Since", b"If-Range",
    b"Accept-Language", b"Accept", b"Accept-Encoding", b"Range", b"Content-Type", b"Content-Length",
    b"Content-Encoding",
    b"Transfer-Encoding", b"X-Request-ID", b"Last-Event-ID", b"Idempotency-Key", b"Sec-Fetch-Site", b"Expect",
    b"Upgrade",
    b"Connection", b"User-Agent", b"Access-Control-Request-Method",
]  # fmt: skip
TARGETS = [
    b"GET /", b"GET /console/login", b"POST /console/login", b"POST /console/logout", b"POST /console/preferences",
    b"POST /console/outbox/redrive", b"POST /console/dead-letters/replay", b"GET /console/tasks",
    b"GET /console/live/whoami",
    b"GET /console/assets/console.css", b"GET /monitor/", b"GET /monitor", b"GET /monitor/static/app.js",
    b"GET /monitor/static/pico.min.css", b"GET /monitor/api/queues", b"GET /monitor/api/queues/default/jobs/x",
    b"POST /monitor/api/queues/default/jobs/x/retry", b"HEAD /monitor/queues/default", b"GET /docs",
    b"GET /openapi.json",
    b"GET /metrics", b"GET /health", b"GET /health/live", b"GET /api/v1/tasks", b"POST /api/v1/users",
    b"PUT /api/v1/users/1",
    b"GET /api/v1/tasks/01989f2e-0000-7000-8000-000000000000/events", b"OPTIONS /api/v1/users",
    b"DELETE /api/v1/orders/1",
]  # fmt: skip
LONG = [
    b"a" * 256,
    b"a" * 5_000,
    "卡".encode() * 100,
    b"%ff" * 100,
    b"a%00",
    b"..%2f..%2f",
    b"%F0%9F%98%80" * 30,
    b"~",
    b".",
]
BELOW = [
    b"GET /monitor/static/",
    b"GET /console/assets/",
    b"GET /console/tasks/",
    b"GET /monitor/queues/",
    b"GET /api/v1/sims/",
    b"GET /monitor/api/queues/default/jobs/",
    b"GET /docs/",
    b"GET /assets/",
    b"GET /console/live/tasks/",
    b"GET /",
]

values = st.sampled_from(ODD) | st.binary(max_size=40).map(lambda raw: re.sub(rb"[\r\n\x00]", b"", raw))
headers = st.lists(st.tuples(st.sampled_from(NAMES), values), max_size=2)
tails = st.sampled_from([b"", b"?next=//[", b"?cursor=%ed%a0%80", b"?page=\xff", b"?%00=1", b"#a", b"/%ff"])
targets = st.tuples(st.sampled_from(TARGETS), tails).map(b"".join) | st.tuples(
    st.sampled_from(BELOW), st.sampled_from(LONG)
).map(b"".join)
requests = st.tuples(targets, headers, st.booleans())


@pytest.fixture
async def brisk(environ: dict[str, str]) -> AsyncIterator[Api]:
    """声称的长度没有发全的，对方不久等；发全了的，机器再忙也答得完。"""
    limits = {"READ_TIMEOUT": "0.5", "KEEPALIVE_TIMEOUT": "0.5"}
    short = {f"KAGUAN_API__{name}": seconds for name, seconds in limits.items()}
    async with serving(load_settings({**environ, **short})) as running:
        yield running


async def statuses(api: Api, raw: bytes) -> list[int]:
    """发一段字节，看头一段应答里的状态；等不到整个请求的，对方不答，断开了事。

    Raises:
        TimeoutError: 对方不答也不断开。
    """
    reader, writer = await asyncio.open_connection(*api.address)
    try:
        async with asyncio.timeout(PATIENCE):
            writer.write(raw)
            answer = await reader.read(65_536)
    except ConnectionError:  # 不答就断，也是拒绝
        return []
    finally:
        writer.close()
    return [int(status) for status in re.findall(rb"HTTP/1\.[01] (\d{3})", answer)]


def message(target: bytes, given_headers: list[tuple[bytes, bytes]], credentials: bytes) -> bytes:
    """补上没给的 Host、长度与凭据。"""
    names = {name for name, _ in given_headers}
    lines = [*given_headers]
    if b"Host" not in names:
        lines.insert(0, (b"Host", HOST))
    if not names & {b"Content-Length", b"Transfer-Encoding"}:
        lines.append((b"Content-Length", b"0"))
    if credentials and b"Authorization" not in names:
        lines.append((b"Authorization", credentials))
    return target + b" HTTP/1.1\r\n" + b"".join(name + b": " + value + b"\r\n" for name, value in lines) + b"\r\n"


@folded("origin", [value for value in ODD if b"/" in value and b":" in value])
@folded("path", [b"/console/login", b"/console/logout", b"/console/outbox/redrive"])
async def test_an_origin_that_is_none_is_a_foreign_one(api: Api, path: bytes, origin: bytes) -> None:
    raw = message(b"POST " + path, [(b"Origin", origin), (b"Content-Type", FORM)], b"")
    assert await statuses(api, raw) == [403]


@folded("given", [b"Basic \xff", b"Basic \xc3\xa9", b"Basic /w==", b"Basic a", b"Basic", b"Bearer \xff"])
async def test_credentials_that_are_none_are_refused(api: Api, given: bytes) -> None:
    for path in (b"/monitor/", b"/monitor/api/queues", b"/monitor/static/app.js", b"/api/v1/tasks"):
        assert await statuses(api, message(b"GET " + path, [(b"Authorization", given)], b"")) == [401]


@folded("name", [*LONG, b"app.js/", b"..", b"nosuch.js"])
async def test_a_static_name_the_file_system_cannot_hold_is_not_found(api: Api, name: bytes) -> None:
    basic = b"Basic " + base64.b64encode(b":" + api.token.encode())
    for below in (b"GET /monitor/static/", b"GET /console/assets/"):
        found = await statuses(api, message(below + name, [], basic))
        assert found in ([404], [400]), (below, name, found)


@folded("path", [b"/", b"/nowhere", b"/monitor/", b"/api/v1/tasks", b"/health/live"])
async def test_an_expectation_that_is_no_text_is_not_met(api: Api, path: bytes) -> None:
    assert await statuses(api, message(b"GET " + path, [(b"Expect", b"\xff\x87")], b"")) == [417]


async def test_the_static_files_themselves_are_served(api: Api) -> None:
    async with signed_in(api) as visitor:
        for name in ("app.js", "snabbdom.js", "pico.min.css"):
            assert (await visitor.get(f"/monitor/static/{name}")).status == 200


@settings(
    max_examples=EXAMPLES // AT_ONCE or 40,
    derandomize=not EXAMPLES,
    suppress_health_check=list(HealthCheck),
)
@given(batch=st.lists(requests, min_size=AT_ONCE, max_size=AT_ONCE))
async def test_no_header_and_no_path_is_a_server_error(
    brisk: Api, batch: list[tuple[bytes, list[tuple[bytes, bytes]], bool]]
) -> None:
    basic = b"Basic " + base64.b64encode(b":" + brisk.token.encode())
    bearer = b"Bearer " + brisk.token.encode()
    sent = [
        message(target, given_headers, (basic if b"/monitor" in target else bearer) if known else b"")
        for target, given_headers, known in batch
    ]
    for raw, found in zip(sent, await asyncio.gather(*(statuses(brisk, raw) for raw in sent)), strict=True):
        late = {503} if PROBING.search(raw) else set()  # 一秒之内没有问到库的探测，照文档答
        assert all(status < 500 for status in {*found} - late), (found, raw)
