"""口令散列的洪水：多出来的立即得到 503，别的请求照常。"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING

from kaguan.config import load_settings
from tests.serving import serving

if TYPE_CHECKING:
    from tests.serving import Reply


def user(number: int) -> dict[str, str]:
    return {"username": f"user{number}", "email": f"user{number}@example.com", "password": "correct horse"}


async def test_a_flood_of_sign_ups_is_shed_and_others_are_served(environ: dict[str, str]) -> None:
    environ |= {
        "KAGUAN_API__BCRYPT_ROUNDS": "10",
        "KAGUAN_API__BCRYPT_CONCURRENCY": "1",
        "KAGUAN_API__BCRYPT_QUEUE": "3",
    }
    async with serving(load_settings(environ)) as api:
        flood = [asyncio.create_task(api.post("/users", user(number))) for number in range(50)]
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
