"""用户请求里该拒绝的一切：形状、大小、夹带的字段、条件请求。"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

from tests.support.folded import folded
from tests.support.serving import Api

USER: dict[str, Any] = {"username": "zhang.san", "email": "zhang@example.com", "password": "correct horse"}


@folded(
    ("field", "value"),
    [
        ("username", "ab"),
        ("username", "a" * 51),
        ("username", "has space"),
        ("username", "张三张三"),
        ("username", "name\n"),
        ("username", "a\x00bc"),
        ("username", 12345),
        ("username", None),
        ("email", "not an address"),
        ("email", "a@example.com,b@example.com"),
        ("email", "a@example.com\r\nBcc: x@example.com"),
        ("email", "a\x00@example.com"),
        ("email", "a" * 250 + "@example.com"),
        ("email", True),
        ("password", "1234567"),
        ("password", "a" * 73),
        ("password", "密" * 25),
        ("password", "nul\x00inside"),
        ("password", 12345678),
        ("password", None),
    ],
)
async def test_a_bad_value_names_its_field_and_writes_nothing(api: Api, field: str, value: object) -> None:
    reply = await api.post("/users", {**USER, field: value})
    assert (reply.status, reply.code, reply.faulty) == (400, 1001, [field])
    assert await api.rows("select count(*) from tb_user") == [(0,)]


@folded("password", ["12345678", "a" * 72, "密" * 24, "😀" * 18])
async def test_a_password_at_the_limit_is_taken(api: Api, password: str) -> None:
    await api.rows("truncate tb_user cascade")
    assert (await api.post("/users", {**USER, "password": password})).status == 201


@folded("missing", ["username", "email", "password"])
async def test_every_field_is_required(api: Api, missing: str) -> None:
    reply = await api.post("/users", {name: value for name, value in USER.items() if name != missing})
    assert (reply.status, reply.faulty) == (400, [missing])


@folded("extra", ["id", "status", "version", "password_hash", "deleted_at", "created_at", "is_admin", "role"])
async def test_fields_that_are_not_the_callers_to_set_are_refused(api: Api, extra: str) -> None:
    reply = await api.post("/users", {**USER, extra: 1})
    assert (reply.status, reply.code, reply.faulty) == (400, 1001, [extra])


@folded(
    ("change", "faulty"),
    [
        ({}, ["body"]),
        ({"username": "other"}, ["username"]),
        ({"id": 7, "status": "active"}, ["id"]),
        ({"password_hash": "x"}, ["password_hash"]),
        ({"status": "root"}, ["status"]),
        ({"status": None}, ["status"]),
        ({"email": None}, ["email"]),
        ({"password": None}, ["password"]),
        ({"password": "short"}, ["password"]),
        ({"email": "nobody"}, ["email"]),
    ],
)
async def test_a_bad_change_is_refused_and_changes_nothing(api: Api, change: dict[str, Any], faulty: list[str]) -> None:
    await api.rows("truncate tb_user cascade")
    created = await api.post("/users", USER)
    path = f"/users/{created.data['id']}"
    reply = await api.put(path, change)
    assert (reply.status, reply.code, reply.faulty) == (400, 1001, faulty)
    assert (await api.get(path)).data["version"] == 1


async def test_if_match_lets_only_the_version_it_names_be_changed(api: Api) -> None:
    created = await api.post("/users", USER)
    path = f"/users/{created.data['id']}"
    assert (await api.put(path, {"status": "banned"}, {"If-Match": '"1"'})).status == 200
    for stale in ('"1"', 'W/"2"', '"elsewhere"', '"2", "3"'):
        reply = await api.put(path, {"status": "active"}, {"If-Match": stale})
        assert (reply.status, reply.code) == (412, 1013), stale
        reply = await api.delete(path, {"If-Match": stale})
        assert (reply.status, reply.code) == (412, 1013), stale
    assert (await api.put(path, {"status": "inactive"}, {"If-Match": "*"})).headers["ETag"] == '"3"'
    malformed = await api.put(path, {"status": "active"}, {"If-Match": "3"})
    assert (malformed.status, malformed.faulty) == (400, ["If-Match"])
    assert (await api.delete(path, {"If-Match": '"3"'})).status == 200


async def test_of_many_changes_to_one_version_exactly_one_wins(api: Api) -> None:
    created = await api.post("/users", USER)
    path = f"/users/{created.data['id']}"
    replies = await asyncio.gather(
        *(api.put(path, {"email": f"n{n}@example.com"}, {"If-Match": '"1"'}) for n in range(8))
    )
    assert Counter(reply.status for reply in replies) == {200: 1, 412: 7}
    assert (await api.get(path)).data["version"] == 2


async def test_of_parallel_duplicates_exactly_one_is_created(api: Api) -> None:
    replies = await asyncio.gather(*(api.post("/users", USER) for _ in range(12)))
    assert Counter(reply.status for reply in replies) == {201: 1, 409: 11}
    assert await api.rows("select count(*) from tb_user") == [(1,)]
    assert await api.rows("select count(*) from vw_task") == [(1,)]


async def test_an_idempotency_key_makes_a_repetition_the_same_user(api: Api) -> None:
    headers = {"Idempotency-Key": "one"}
    first = await api.call("POST", "/users", USER, headers)
    second = await api.call("POST", "/users", USER, headers)
    assert (first.status, second.status) == (201, 201)
    assert second.data == first.data
    assert second.headers["Location"] == first.headers["Location"]
    assert await api.rows("select count(*) from tb_user") == [(1,)]
    other = await api.call("POST", "/users", {**USER, "username": "other"}, headers)
    assert (other.status, other.code) == (422, 1011)
