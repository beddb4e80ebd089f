from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import orjson

from kaguan.config import Settings, load_settings
from kaguan.tokens import service as tokens
from kaguan.tokens import store
from tests.support.folded import folded
from tests.support.serving import Api, serving

ALICE = {"username": "alice", "email": "alice@example.com", "password": "correct horse"}
KEY = {"Idempotency-Key": "k-1"}


async def test_the_first_answer_is_replayed_unchanged(api: Api) -> None:
    first = await api.call("POST", "/users", ALICE, KEY)
    again = await api.call("POST", "/users", dict(reversed(ALICE.items())), KEY)
    assert first.status == again.status == 201
    assert again.body == first.body
    assert again.headers["Location"] == first.headers["Location"]
    assert again.headers["Idempotency-Replayed"] == "true"
    assert await api.rows("select count(*) from tb_user") == [(1,)]
    assert await api.rows("select count(*) from vw_task") == [(1,)]


async def test_the_same_key_with_another_body_or_route_is_refused(api: Api) -> None:
    await api.call("POST", "/users", ALICE, KEY)
    other = await api.call("POST", "/users", {**ALICE, "username": "bob"}, KEY)
    elsewhere = await api.call("POST", "/tasks/sim", {"iccids": ["8986001234567890123"]}, KEY)
    assert (other.status, other.code) == (elsewhere.status, elsewhere.code) == (422, 1011)


async def test_whoever_sees_the_table_cannot_try_passwords_on_the_fingerprint(api: Api) -> None:
    """以令牌为钥：知道正文的其余部分，算得出的也不是存着的那个。"""
    await api.call("POST", "/users", ALICE, KEY)
    [(stored,)] = await api.rows("select fingerprint from tb_idempotency_key")
    said = b"POST\n/api/v1/users\n" + orjson.dumps(ALICE, option=orjson.OPT_SORT_KEYS)
    assert stored != hashlib.sha256(said).digest()
    assert stored == hmac.digest(api.token.encode(), said, hashlib.sha256)
    wrong = await api.call("POST", "/users", {**ALICE, "password": "another one"}, KEY)
    assert (wrong.status, wrong.code) == (422, 1011)


async def test_a_renewed_token_goes_on_with_the_keys_of_its_name_but_not_where_a_password_is(api: Api) -> None:
    sims = {"iccids": ["8986001234567890123"]}
    sent = [("/users", ALICE, {"Idempotency-Key": "u"}), ("/tasks/sim", sims, {"Idempotency-Key": "s"})]
    for path, body, key in sent:
        await api.call("POST", path, body, key)
    async with api.pool.connection() as connection:
        await store.revoke(connection, "test")
        renewed = replace(api, token=(await tokens.create(connection, "test", tokens.SCOPES)).token)
    again = [await renewed.call("POST", path, body, key) for path, body, key in sent]
    assert [reply.status for reply in again] == [422, 202]
    assert again[1].headers["Idempotency-Replayed"] == "true"
    assert await api.rows("select count(*) from tb_user") == [(1,)]


async def test_a_failed_request_leaves_the_key_free(api: Api) -> None:
    await api.post("/users", ALICE)
    assert (await api.call("POST", "/users", ALICE, KEY)).code == 1005
    assert await api.rows("select count(*) from tb_idempotency_key") == [(0,)]
    assert (await api.call("POST", "/users", {**ALICE, "username": "bob", "email": "b@example.com"}, KEY)).status == 201


@folded("key", ["", " ", "a" * 256, "ключ", "a b"])
async def test_a_bad_key_is_refused(api: Api, key: str) -> None:
    reply = await api.call("POST", "/users", ALICE, {"Idempotency-Key": key})
    assert (reply.status, reply.faulty) == (400, ["Idempotency-Key"])


async def test_an_expired_key_may_be_used_again(api: Api) -> None:
    await api.call("POST", "/users", ALICE, KEY)
    await api.rows("update tb_idempotency_key set expires_at = now() - interval '1 second'")
    reply = await api.call("POST", "/users", {**ALICE, "username": "bob", "email": "b@example.com"}, KEY)
    assert reply.status == 201


async def test_keys_belong_to_their_caller(api: Api) -> None:
    await api.call("POST", "/users", ALICE, KEY)
    async with api.pool.connection() as connection:
        issued = await tokens.create(connection, "other", tokens.SCOPES)
    bob = {**ALICE, "username": "bob", "email": "b@example.com"}
    reply = await api.call("POST", "/users", bob, {**KEY, "Authorization": f"Bearer {issued.token}"})
    assert reply.status == 201


@folded(
    ("path", "body", "table", "status"),
    [
        ("/users", ALICE, "tb_user", 201),
        ("/tasks/email", {"to": ["a@example.com"], "subject": "s", "body": "b"}, "tb_task", 202),
        ("/tasks/batch", {"tasks": [{"type": "sim:status_sync", "iccids": ["8986001234567890123"]}]}, "tb_task", 202),
    ],
)
async def test_fifty_parallel_requests_on_two_processes_make_one_row(
    settings: Settings, environ: dict[str, str], path: str, body: dict[str, Any], table: str, status: int
) -> None:
    name = path.rpartition("/")[2]
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(serving(settings, name=f"first-{name}"))
        other = await stack.enter_async_context(serving(load_settings(environ), name=f"other-{name}"))
        second = replace(other, token=first.token)
        await first.rows("truncate tb_user, tb_task, tb_idempotency_key cascade")
        headers = {"Idempotency-Key": "race"}
        calls = [(first, second)[n % 2].call("POST", path, body, headers) for n in range(50)]
        replies = await asyncio.gather(*calls)
        codes = Counter((reply.status, reply.code) for reply in replies)
        assert set(codes) <= {(status, 0), (409, 1012)}
        assert codes[status, 0] >= 1
        answers = [reply.body for reply in replies if reply.status == status]
        assert all(answer == answers[0] for answer in answers)
        assert await first.rows(f"select count(*) from {table}") == [(1,)]
        late = await second.call("POST", path, body, headers)
        assert late.status == status
        assert late.headers["Idempotency-Replayed"] == "true"
