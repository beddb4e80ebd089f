"""口令散列的洪水：多出来的立即得到 503，别的请求照常。"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter

import bcrypt
import pytest

from kaguan.config import load_settings
from tests.support.eventually import PATIENCE, eventually
from tests.support.serving import Reply, serving


def user(number: int) -> dict[str, str]:
    return {"username": f"user{number}", "email": f"user{number}@example.com", "password": "correct horse"}


@pytest.mark.parametrize("keyed", [False, True], ids=["plain", "with idempotency keys and a small pool"])
async def test_a_flood_of_sign_ups_is_shed_and_others_are_served(environ: dict[str, str], *, keyed: bool) -> None:
    environ |= {
        "KAGUAN_DATABASE__POOL_MAX": "2" if keyed else "5",
        "KAGUAN_API__BCRYPT_ROUNDS": "9",
        "KAGUAN_API__BCRYPT_CONCURRENCY": "1",
        "KAGUAN_API__BCRYPT_QUEUE": "3",
    }
    async with serving(load_settings(environ)) as api:
        flood = [
            asyncio.create_task(
                api.call("POST", "/users", user(number), {"Idempotency-Key": f"{number}"} if keyed else {})
            )
            for number in range(30)
        ]
        beside: list[Reply] = []
        while not all(task.done() for task in flood):
            beside.append(await api.get("/users"))
        replies = await asyncio.gather(*flood)
        assert {reply.status for reply in beside} == {200}
        statuses = Counter(reply.status for reply in replies)
        assert set(statuses) == {201, 503}
        assert statuses[201] >= 4
        shed = [reply for reply in replies if reply.status == 503]
        assert {reply.code for reply in shed} == {2003}
        assert all(int(reply.headers["Retry-After"]) >= 1 for reply in shed)
        assert await api.rows("select count(*) from tb_user") == [(statuses[201],)]
        assert (await api.post("/users", user(99))).status == 201


async def test_hashing_for_a_keyed_sign_up_holds_no_connection(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """散列要等到别人读过才做完：占着唯一的连接散列的话，谁也读不上。"""
    hashpw, begun, read = bcrypt.hashpw, threading.Event(), threading.Event()

    def held(password: bytes, salt: bytes) -> bytes:
        begun.set()
        read.wait(PATIENCE)
        return hashpw(password, salt)

    monkeypatch.setattr(bcrypt, "hashpw", held)
    async with serving(load_settings({**environ, "KAGUAN_DATABASE__POOL_MAX": "1"})) as api:
        signing_up = asyncio.create_task(api.call("POST", "/users", user(1), {"Idempotency-Key": "k"}))
        await eventually(begun.is_set)
        beside = [(await api.get("/users")).status for _ in range(5)]
        read.set()
        reply = await signing_up
        assert reply.status == 201
        assert beside == [200] * 5
        again = await api.call("POST", "/users", user(1), {"Idempotency-Key": "k"})
        assert again.body == reply.body
