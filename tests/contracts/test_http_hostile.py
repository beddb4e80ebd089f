"""敌意的输入：每个字段 × 每种装不下的值，一个 5xx 都不许有。"""

from __future__ import annotations

import gzip
import io
import json
import tracemalloc
import zlib
from itertools import islice
from typing import Any

import pytest

from api.routes import ROUTES
from kaguan.sims.iccid import with_check_digit
from kaguan.words.errors import Code
from kaguan.words.units import MIB
from tests.support.folded import folded
from tests.support.in_hand import HOLD
from tests.support.serving import Api

CEILING = 16 * MIB
JSON_HEADERS = {"Content-Type": "application/json"}
RESOLVE = "/api/v1/tasks/{task_id}/resolve"
PAYLOAD = "/api/v1/tasks/{task_id}/payload"
SWEEP = {
    "status": ["pending"],
    "type": "email:send",
    "queue": "low",
    "caller": "c",
    "error": "e",
    "iccid": "8986001234567890123",
    "recipient": "a@example.com",
    "ordering_key": "k",
    "since": "2026-01-01T00:00:00Z",
    "until": "2026-01-02T00:00:00Z",
    "limit": 1,
    "dry_run": True,
}
VALID: dict[str, dict[str, Any]] = {
    "/api/v1/sims/changes": {
        "change": "plan",
        "plan": "p",
        "filter": {
            "q": "8986001234567890123",
            "carrier": "onelink",
            "lifecycle_state": "active",
            "plan": "p",
            "group": "g",
            "customer": "c",
            "tag": "t",
        },
        "limit": 1,
        "reason": "r",
        "schedule_at": "2030-01-01T00:00:00Z",
        "request_id": "c-1",
        "dry_run": True,
    },
    "/api/v1/users": {"username": "alice", "email": "a@example.com", "password": "correct horse"},
    "/api/v1/orders": {"user_id": 1, "amount": 1, "order_id": "A-1", "currency": "CNY", "remark": "r"},
    "/api/v1/sims": {
        "sims": [
            {
                "iccid": "8986001234567890123",
                "carrier": "onelink",
                "eid": "89049032123451234512345678901235",
                "imei": "490154203237518",
                "plan": "p",
                "group": "g",
                "tags": ["t"],
                "customer": "c",
                "remark": "r",
            }
        ]
    },
    "/api/v1/sims/imports": {"content_base64": "aWNjaWQKMQo=", "carrier": "onelink"},
    "/api/v1/verdict/acknowledgements": {"code": "uncertain", "reason": "r", "seconds": 60},
    "/api/v1/pauses": {"scope": "type", "name": "email:send", "reason": "r", "seconds": 60},
    "/api/v1/tasks/cancel": SWEEP,
    "/api/v1/tasks/discard": {**SWEEP, "status": ["failed"]},
    "/api/v1/tasks/retry": {**SWEEP, "status": ["failed"]},
    "/api/v1/tasks/email": {
        "request_id": "r",
        "to": ["a@example.com"],
        "cc": ["b@example.com"],
        "subject": "s",
        "body": "b",
        "html": "h",
        "attachments": [{"filename": "f", "content_type": "a/b", "content_base64": "QUJD"}],
        "priority": "low",
        "schedule_at": "2026-01-01T00:00:00Z",
    },
    "/api/v1/tasks/sync": {
        "request_id": "r",
        "sync_type": "usage",
        "start_date": "2026-01-01",
        "end_date": "2026-01-02",
        "batch_size": 1,
        "carrier": "onelink",
    },
    "/api/v1/tasks/sim": {"iccids": ["8986001234567890123"], "force_sync": True},
    "/api/v1/tasks/batch": {"tasks": [{"type": "sim:status_sync", "iccids": ["8986001234567890123"]}]},
    PAYLOAD: {"reason": "r"},
    "/api/v1/tasks/{task_id}/change": {"priority": "low", "schedule_at": "2030-01-01T00:00:00Z", "reason": "r"},
    RESOLVE: {"outcome": "happened", "note": "n"},
    "/api/v1/workers/{name}/drain": {"reason": "r"},
    "/api/v1/tasks/replay": {"status": "failed", "limit": 1, "rate": 1, "dry_run": True},
}
ICCID = with_check_digit(f"898600{1:013d}")
# 改一样先有的：路径与全部字段
CHANGES: dict[str, tuple[str, dict[str, Any]]] = {
    "/api/v1/users/{id}": (
        "/users/1",
        {"email": "b@example.com", "status": "banned", "password": "correct hors"},
    ),
    "/api/v1/orders/{id}": ("/orders/1", {"status": "paid", "remark": "r"}),
    "/api/v1/sims/{iccid}": (
        f"/sims/{ICCID}",
        {
            "iccid": ICCID,
            "carrier": "onelink",
            "eid": "89049032123451234512345678901235",
            "msisdn": "8613800138000",
            "imsi": "460040123456789",
            "imei": "490154203237518",
            "plan": "p",
            "group": "g",
            "tags": ["t"],
            "customer": "c",
            "remark": "r",
        },
    ),
    "/api/v1/limits/types/{name}": ("/limits/types/email:send", {"at_once": 1, "reason": "r", "seconds": 60}),
    "/api/v1/limits/carriers/{name}": (
        "/limits/carriers/onelink",
        {"at_once": 1, "per_second": 1, "reason": "r", "seconds": 60},
    ),
}
HOSTILE = [
    '"\\u0000"', '"a\\u0000b"', '"\\ud800"', '"\\udfff\\ud800"', '"\\u2028"', '"\\ufffe"', "-1", "0", "2147483648",
    "9223372036854775808", "18446744073709551616", "1" + "0" * 400, "1.5", "1e400", "-0.0", "NaN", "Infinity", "true",
    "null", "[]", "{}", '""', '" "', '"' + "x" * 100_000 + '"', '"{{7*7}}"', '"%s{0.__class__}"', '"\\r\\nBcc: a@b.c"',
    '"../../etc/passwd"', "[[[[[[[[]]]]]]]]", '"9999-12-31T23:59:59Z"', '"0001-01-01"', '"١"',
    '"0001-01-01T00:00:00+14:00"', '"9999-12-31T23:59:59-14:00"', '"1700000000"',
]  # fmt: skip

# 短的每处七种里试一种，轮着来，一条路由接着一条
EVERY = pytest.mark.parametrize("every", [7, pytest.param(1, marks=pytest.mark.long)])


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    if isinstance(value, dict):
        return [path, *(place for key, item in value.items() for place in places(item, (*path, key)))]
    if isinstance(value, list):
        return [path, *(place for index, item in enumerate(value) for place in places(item, (*path, index)))]
    return [path]


def with_hostile(valid: Any, place: tuple[Any, ...], text: str) -> bytes:
    """把 ``place`` 处的值换成原样的 JSON 文本。"""
    if not place:
        return text.encode()
    marker = "__here__"
    copied = json.loads(json.dumps(valid))
    parent = copied
    for step in place[:-1]:
        parent = parent[step]
    parent[place[-1]] = marker
    return json.dumps(copied).replace(f'"{marker}"', text).encode()


def test_every_route_with_a_body_is_in_the_table() -> None:
    assert {route.pattern for route in ROUTES if route.body is not None and route.method == "POST"} == set(VALID)
    assert {route.pattern for route in ROUTES if route.body is not None and route.method != "POST"} == set(CHANGES)


@EVERY
@folded("path", VALID)
async def test_no_hostile_value_in_any_field_is_a_server_error(api: Api, path: str, every: int) -> None:
    """带不带幂等键，轮着来：键在值之前就看过了。"""
    for number, place in enumerate(places(VALID[path]), list(VALID).index(path)):
        for turn, text in enumerate(islice(HOSTILE, number % every, None, every), number):
            raw = with_hostile(VALID[path], place, text)
            headers = {**JSON_HEADERS, "Authorization": f"Bearer {api.token}"}
            if turn % 2:
                headers["Idempotency-Key"] = f"{path.strip('/').replace('/', '-')}-{number}-{turn}"
            async with api.session.post(await place_of(api, path), data=raw, headers=headers) as response:
                envelope = await response.json()
                assert response.status < 500, (place, text[:50], envelope)
    await every_task_can_be_listed(api)


async def place_of(api: Api, path: str) -> str:
    """说得出结局的，得有一个不明的任务；收工的，得在。"""
    if "{name}" in path:
        accepted = await api.post("/tasks/email", {**VALID["/api/v1/tasks/email"], "request_id": "in-hand"})
        await api.rows(HOLD, "w", "1 hour", [accepted.data["task_id"]])
        return path.replace("{name}", "w")
    if "{task_id}" not in path:
        return path
    task_id = (await api.post("/tasks/email", {**VALID["/api/v1/tasks/email"], "request_id": "unknown"})).data[
        "task_id"
    ]
    await api.rows("update tb_task set status = 'uncertain', finished_at = null where id = %s", task_id)
    return path.replace("{task_id}", task_id)


async def test_no_hostile_value_in_any_change_is_a_server_error(api: Api) -> None:
    assert (await api.post("/users", VALID["/api/v1/users"])).status == 201
    assert (await api.post("/orders", VALID["/api/v1/orders"])).status == 201
    assert (await api.post("/sims", {"sims": [{"iccid": ICCID, "carrier": "onelink"}]})).status == 201
    headers = {**JSON_HEADERS, "Authorization": f"Bearer {api.token}"}
    for path, valid in CHANGES.values():
        for place in places(valid):
            for text in HOSTILE:
                raw = with_hostile(valid, place, text)
                async with api.session.put(f"/api/v1{path}", data=raw, headers=headers) as response:
                    assert response.status < 500, (path, place, text[:50], await response.text())
        listed = "/limits" if path.startswith("/limits") else path
        assert (await api.get(listed)).status == 200


async def every_task_can_be_listed(api: Api) -> None:
    """收下的都读得回来：存进去却读不出的一行会害了整个列表。"""
    cursor = ""
    while True:
        page = await api.get(f"/tasks?page_size=100{cursor}")
        assert page.status == 200, page.text
        if page.data["next_cursor"] is None:
            return
        cursor = f"&cursor={page.data['next_cursor']}"


@folded(
    "raw",
    [
        b"[" * 100_000,
        b'{"a":' * 50_000,
        b'{"to": ' + b"9" * 1_000_000 + b"}",
        b'{"subject": "a", "subject": "b"}',
        b'{"subject": "\xff\xfe"}',
        '{"subject": "您好"}'.encode("gbk"),
        '{"subject": "x"}'.encode("utf-16"),
        b"\xef\xbb\xbf{}",
    ],
)
async def test_hostile_json_is_malformed(api: Api, raw: bytes) -> None:
    headers = {**JSON_HEADERS, "Authorization": f"Bearer {api.token}"}
    async with api.session.post("/api/v1/tasks/email", data=raw, headers=headers) as response:
        assert (response.status, (await response.json())["code"]) == (400, Code.MALFORMED_JSON)


@folded(
    "query",
    ["page=9223372036854775808", "page=1e3", "page=1_0", "page=%D9%A1", "page=1&page=2", "status=%00", "cursor=%00",
     "cursor=%ff%fe", "page_size=101", "page=-1", "page=", "%00=1", "cursor=" + "a" * 5_000],
)  # fmt: skip
async def test_hostile_queries_are_refused(api: Api, query: str) -> None:
    headers = {"Authorization": f"Bearer {api.token}"}
    for path in ("/api/v1/users", "/api/v1/orders", "/api/v1/tasks"):
        async with api.session.get(f"{path}?{query}", headers=headers) as response:
            assert response.status == 400, await response.text()


@folded("moment", ["1700000000", "0001-01-01T00:00:00%2B14:00", "9999-12-31T23:59:59-14:00"])
@folded("name", ["since", "until"])
async def test_moments_off_the_calendar_are_refused_by_name(api: Api, name: str, moment: str) -> None:
    reply = await api.get(f"/tasks?{name}={moment}")
    assert (reply.status, reply.faulty) == (400, [name])


@folded("value", ["-1", "0", "9223372036854775808", "1" + "0" * 400, "1e3", "%D9%A1", "%00", "%ff", "..%2f"])
async def test_hostile_paths_are_refused(api: Api, value: str) -> None:
    headers = {"Authorization": f"Bearer {api.token}"}
    for path in ("users", "orders", "tasks", "sims"):
        async with api.session.get(f"/api/v1/{path}/{value}", headers=headers) as response:
            assert response.status in {400, 404}, await response.text()


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
async def test_a_compression_bomb_is_too_large(api: Api, encoding: str) -> None:
    """一块块地展开，过了上限就停：内存多不过上限的一倍半。"""
    packed = (gzip if encoding == "gzip" else zlib).compress(bytes(4 * CEILING), 1)
    headers = {**JSON_HEADERS, "Authorization": f"Bearer {api.token}", "Content-Encoding": encoding}
    tracemalloc.start()
    try:
        async with api.session.post("/api/v1/tasks/email", data=packed, headers=headers) as response:
            assert (response.status, (await response.json())["code"]) == (413, Code.BODY_TOO_LARGE)
        assert tracemalloc.get_traced_memory()[1] < 1.5 * CEILING
    finally:
        tracemalloc.stop()


async def test_a_body_over_the_limit_is_too_large_with_and_without_a_length(api: Api) -> None:
    headers = {**JSON_HEADERS, "Authorization": f"Bearer {api.token}"}

    async def chunks() -> Any:
        for _ in range(17):
            yield b" " * 1024 * 1024

    for data in (io.BytesIO(b" " * (17 * 1024 * 1024)), chunks()):
        async with api.session.post("/api/v1/tasks/email", data=data, headers=headers) as response:
            assert (response.status, (await response.json())["code"]) == (413, Code.BODY_TOO_LARGE)
