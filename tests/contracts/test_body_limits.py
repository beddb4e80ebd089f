"""每条路由自己的请求体上限：报了长度的不读就拒绝，没报的读到为止；大而无当的骨架不解析；错误说得有限。"""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import pytest

from api.console.browser import MAX_FORM
from api.endpoints.binding import EMPTY_LIMIT
from api.endpoints.endpoint import Endpoint
from api.endpoints.reasons import MAX_REPORTED
from api.resources.task_batch import ITEM_ERRORS
from api.routes import ROUTES
from kaguan.config import load_settings
from kaguan.words.errors import Code
from kaguan.words.units import MIB
from tests.attacks import bodies
from tests.support.folded import folded
from tests.support.raw_http import exchange
from tests.support.serving import Api, serving

CEILING = 16 * MIB
WITH_BODY = [route for route in ROUTES if route.body is not None]
WITHOUT = [route for route in ROUTES if route.body is None]


def path_of(route: Endpoint) -> str:
    one = "01989f2e-0000-7000-8000-000000000000"
    ids = dict.fromkeys(("task_id", "pause_id", "acknowledgement_id"), one)
    return route.pattern.format(id=1, change=1, **ids, name="x", iccid=bodies.ICCID)


def limit_of(route: Endpoint) -> int:
    return route.body_limit or CEILING


async def only_the_head(api: Api, route: Endpoint, length: str, language: str = "zh") -> dict[str, Any]:
    """只发头，不发正文：服务器若要读就会等到超时。"""
    head = (
        f"{route.method} {path_of(route)} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {api.token}\r\n"
        f"Content-Type: application/json\r\nAccept-Language: {language}\r\n{length}\r\n\r\n"
    )
    reply = await exchange(*api.address, head.encode())
    return {"status": reply.status, **reply.envelope}


async def send(api: Api, path: str, raw: Any, method: str = "POST", **headers: str) -> tuple[int, dict[str, Any]]:
    sent = {"Content-Type": "application/json", "Authorization": f"Bearer {api.token}", **headers}
    data = io.BytesIO(raw) if isinstance(raw, bytes) else raw
    async with api.session.request(method, path, data=data, headers=sent) as response:
        return response.status, await response.json() if is_json(response) else {}


def is_json(response: aiohttp.ClientResponse) -> bool:
    return response.content_type == "application/json"


async def in_chunks(raw: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(raw), 65_536):
        yield raw[start : start + 65_536]


@folded("route", WITH_BODY)
async def test_a_declared_length_over_the_limit_is_refused_unread(api: Api, route: Endpoint) -> None:
    over = f"Content-Length: {limit_of(route) + 1}"
    refused = await only_the_head(api, route, over)
    assert (refused["status"], refused["code"]) == (413, Code.BODY_TOO_LARGE)
    size = f"{limit_of(route) // 1024} KiB"
    assert size in refused["msg"]
    english = await only_the_head(api, route, over, "en")
    assert f"at most {size} on this route" in english["msg"]


@folded("route", WITH_BODY)
async def test_without_a_length_reading_stops_at_the_limit(api: Api, route: Endpoint) -> None:
    for extra, status in ((0, 400), (1, 413)):
        raw = b"{" + b" " * (limit_of(route) + extra - 1)  # 合上限的读完了，坏在没有收尾
        assert (await send(api, path_of(route), in_chunks(raw), route.method))[0] == status


async def test_what_is_packed_counts_unpacked(api: Api) -> None:
    packed = gzip.compress(b"{" + b" " * 65_536)
    status, answer = await send(api, "/api/v1/users", packed, **{"Content-Encoding": "gzip"})
    assert (status, answer["code"]) == (413, Code.BODY_TOO_LARGE)


async def test_the_configured_limit_caps_every_route(environ: dict[str, str]) -> None:
    async with serving(load_settings({**environ, "KAGUAN_API__BODY_LIMIT": "4096"})) as api:
        for route in WITH_BODY:
            refused = await only_the_head(api, route, "Content-Length: 4097")
            assert (refused["status"], refused["code"]) == (413, Code.BODY_TOO_LARGE)
            assert "4 KiB" in refused["msg"]


@folded("route", WITHOUT)
async def test_a_route_without_a_body_reads_none(api: Api, route: Endpoint) -> None:
    refused = await only_the_head(api, route, f"Content-Length: {EMPTY_LIMIT + 1}")
    assert (refused["status"], refused["code"]) == (400, Code.INVALID_PARAMETERS)
    assert refused["data"]["errors"][0]["field"] == "body"
    assert (await send(api, path_of(route), in_chunks(b" " * 5_000), route.method))[0] == 400
    assert (await send(api, path_of(route), b" {} ", route.method))[0] != 400


async def test_the_largest_legal_body_is_taken(environ: dict[str, str]) -> None:
    async with serving(load_settings(environ)) as api:
        for make, path, expected in (
            (bodies.largest_mail, "/api/v1/tasks/email", 202),
            (bodies.largest_batch_of_mails, "/api/v1/tasks/batch", 202),
            (bodies.largest_batch_of_cards, "/api/v1/tasks/batch", 202),
            (bodies.largest_sim_task, "/api/v1/tasks/sim", 202),
            (bodies.largest_sims, "/api/v1/sims", 200),
            (bodies.registrable_sims, "/api/v1/sims", 201),
        ):
            status, answer = await send(api, path, make())
            assert (status, answer["code"]) == (expected, 0), (make.__name__, str(answer)[:500])
            assert not path.endswith("batch") or answer["data"]["rejected"] == 0


@folded(
    "make",
    [
        bodies.nested_lists,
        lambda: bodies.filled(b'{"tasks":[', b"1,", b"1]}"),
        bodies.unknown_keys,
        lambda: b"[" * CEILING,
        lambda: b'{"a":' * (CEILING // 5),
    ],
)
async def test_more_structure_than_the_route_can_use_is_not_parsed(
    api: Api, monkeypatch: pytest.MonkeyPatch, make: Callable[[], bytes]
) -> None:
    monkeypatch.setattr("api.endpoints.json_body.orjson.loads", unexpected)
    status, answer = await send(api, "/api/v1/tasks/batch", make())
    assert (status, answer["code"]) == (400, Code.MALFORMED_JSON)
    assert "超过这条路由的上限" in answer["msg"]


def unexpected(_raw: bytes) -> object:
    raise AssertionError("不该解析")


async def test_a_body_is_parsed_once(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    import orjson

    parsed: list[int] = []
    loads = orjson.loads

    def counting(raw: bytes) -> object:
        parsed.append(len(raw))
        return loads(raw)

    monkeypatch.setattr("api.endpoints.json_body.orjson.loads", counting)
    mail = {"type": "email:send", "to": ["a@example.com"], "subject": "http://a:1", "body": "a: b"}
    raw = json.dumps({"tasks": [mail, {**mail, "priority": 1.5}]}).encode()
    status, answer = await send(api, "/api/v1/tasks/batch", raw)
    assert (status, answer["data"]["accepted"]) == (202, 1)
    assert parsed.count(len(raw)) == 1


async def test_unknown_fields_of_a_large_body_are_refused_before_the_rest_is_looked_at(api: Api) -> None:
    raw = json.dumps({"x": 1, "sims": [{"iccid": 1, "remark": "r" * 400}] * 1_000}).encode()
    status, answer = await send(api, "/api/v1/sims", raw)
    assert (status, [error["field"] for error in answer["data"]["errors"]]) == (400, ["x"])


async def test_the_list_of_errors_is_bounded(api: Api) -> None:
    """二百个未知字段逐个指名到上限为止；三百个就不解析了。"""

    async def refused(count: int) -> dict[str, Any]:
        raw = json.dumps({f"k{n}" * 40: 1 for n in range(count)}).encode()
        status, answer = await send(api, "/api/v1/users", raw)
        assert status == 400
        return answer

    errors = (await refused(200))["data"]["errors"]
    assert len(errors) == MAX_REPORTED
    assert all(len(error["field"]) <= 100 for error in errors)
    assert (await refused(300))["code"] == Code.MALFORMED_JSON


async def test_the_errors_of_a_batch_are_bounded_item_by_item(api: Api) -> None:
    bad = {"type": "email:send", "to": ["x"] * 100, "cc": [1] * 100}
    good = {"type": "sim:status_sync", "iccids": [bodies.ICCID]}
    status, answer = await send(api, "/api/v1/tasks/batch", json.dumps({"tasks": [good, bad]}).encode())
    assert (status, answer["data"]["accepted"]) == (202, 1)
    assert len(answer["data"]["items"][1]["errors"]) == ITEM_ERRORS
    status, answer = await send(api, "/api/v1/tasks/batch", bodies.many_batch_errors())
    assert (status, len(answer["data"]["errors"])) == (400, MAX_REPORTED)


@folded(("value", "reason"), [("18446744073709551616", "整数过大"), ("1e300", "整数过大"), ("1.5", "应为整数")])
async def test_a_number_beyond_64_bits_is_named_with_its_field(api: Api, value: str, reason: str) -> None:
    status, answer = await send(api, "/api/v1/orders", b'{"user_id": 1, "amount": %s}' % value.encode())
    assert status == 400
    assert answer["data"]["errors"] == [{"field": "amount", "reason": reason}]


@folded("data", [b"x" * (MAX_FORM + 1), io.BytesIO(b"x" * (MAX_FORM + 1))])
async def test_a_form_has_its_own_limit(api: Api, data: Any) -> None:
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Sec-Fetch-Site": "same-origin"}
    async with api.session.post("/console/login", data=data, headers=headers) as response:
        assert response.status == 413
