from __future__ import annotations

import re
from dataclasses import replace
from uuid import uuid4

from saq.job import Status

from kaguan.config import Settings
from kaguan.outbox.deliver.deliveries import Delivery, build_queues, enqueue_many
from kaguan.outbox.vocabulary import Priority
from kaguan.queues.client import build_client
from kaguan.tokens import service as tokens
from tests.support.serving import Api, basic


async def test_the_monitor_asks_for_a_password_and_takes_only_an_operator(api: Api) -> None:
    for headers, status in (({}, 401), (basic("nonsense"), 401), (basic(api.token), 200)):
        async with api.session.get("/monitor/", headers=headers) as response:
            assert response.status == status
            if status == 401:
                assert response.headers["WWW-Authenticate"].startswith("Basic")
    async with api.pool.connection() as connection:
        reader = replace(api, token=(await tokens.create(connection, "reader", ["tasks:read"])).token)
    async with api.session.get("/monitor/api/queues", headers=basic(reader.token)) as response:
        assert response.status == 403


async def test_the_page_and_its_assets_load_under_the_path(api: Api) -> None:
    async with api.session.get("/monitor", headers=basic(api.token)) as response:
        assert response.status == 200
        page = await response.text()
        assert "script-src 'self' 'sha256-" in response.headers["Content-Security-Policy"]
    assets = re.findall(r'(?:src|href)="(/[^"]+)"', page)
    assert len(assets) == 4
    for asset in assets:
        async with api.session.get(asset, headers=basic(api.token)) as response:
            assert response.status == 200
    async with api.session.get("/monitor/api/queues", headers=basic(api.token)) as response:
        names = {queue["name"] for queue in (await response.json())["queues"]}
    assert names == {"critical", "default", "low"}


async def test_writes_come_from_the_page_itself_and_never_retry_a_running_job(api: Api, settings: Settings) -> None:
    async with build_client(settings.redis) as redis:
        queues = build_queues(redis)
        job = Delivery(Priority.DEFAULT, "email:send", [(uuid4(), 1)])
        await enqueue_many(queues, [job], 60, 0.0)
        path = f"/monitor/api/queues/default/jobs/{job.key}"
        evil = {"Origin": "https://evil.example"}
        for forged in (evil, {"Sec-Fetch-Site": "cross-site"}):
            async with api.session.post(f"{path}/retry", headers={**basic(api.token), **forged}) as response:
                assert response.status == 403
        async with api.session.get(path, headers=basic(api.token)) as response:
            assert (await response.json())["job"]["status"] == "queued"
        stored = await queues[Priority.DEFAULT].job(job.key)
        assert stored is not None
        await queues[Priority.DEFAULT].update(stored, status=Status.ACTIVE)
        async with api.session.post(f"{path}/retry", headers=basic(api.token)) as response:
            assert response.status == 409


async def test_what_is_not_there_is_a_404_without_a_traceback(api: Api) -> None:
    for path in ("/monitor/api/queues/nowhere", "/monitor/api/queues/default/jobs/nothing"):
        async with api.session.get(path, headers=basic(api.token)) as response:
            assert response.status == 404
            assert "Traceback" not in await response.text()
