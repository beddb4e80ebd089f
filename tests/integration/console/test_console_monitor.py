"""SAQ 的监控页与控制台同一个登录：``ops:read`` 只看，``ops`` 才能动，动了就留痕。"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

from kaguan.config import Settings
from kaguan.outbox.deliver.deliveries import Delivery, build_queues, enqueue_many
from kaguan.outbox.vocabulary import Priority
from kaguan.queues.client import build_client
from kaguan.tokens import service as tokens
from tests.support.console import signed_in, visiting
from tests.support.serving import Api, basic

HTML = {"Accept": "text/html,application/xhtml+xml"}


@asynccontextmanager
async def queued_job(settings: Settings) -> AsyncIterator[str]:
    """队列里的一个投递；给出它在监控页接口里的地址。"""
    async with build_client(settings.redis) as redis:
        queues = build_queues(redis)
        job = Delivery(Priority.DEFAULT, "email:send", [(uuid4(), 1)])
        await enqueue_many(queues, [job], 60, 0.0)
        yield f"/monitor/api/queues/default/jobs/{job.key}"


async def test_a_browser_is_sent_to_the_login_and_a_tool_gets_a_challenge(api: Api) -> None:
    async with visiting(api) as stranger:
        page = await stranger.get("/monitor/queues/default", HTML)
        assert (page.status, page.location) == (303, "/console/login?next=%2Fmonitor%2Fqueues%2Fdefault")
        tool = await stranger.get("/monitor/")
        assert tool.status == 401
        assert tool.headers["WWW-Authenticate"].startswith("Basic")
        script = await stranger.get("/monitor/api/queues", {"Sec-Fetch-Site": "same-origin"})
        assert script.status == 401
        assert "WWW-Authenticate" not in script.headers or "Basic" not in script.headers["WWW-Authenticate"]


async def test_one_login_serves_console_and_monitor(api: Api) -> None:
    async with signed_in(api) as visitor:
        assert (await visitor.get("/monitor/", HTML)).status == 200
        assert '"default"' in (await visitor.get("/monitor/api/queues")).text
        assert (await visitor.get("/monitor/static/app.js")).status == 200
        await visitor.act("/console/logout")
        assert (await visitor.get("/monitor/", HTML)).status == 303


async def test_our_page_frames_it_and_names_each_delivery_by_its_tasks(api: Api, settings: Settings) -> None:
    """一个投递带着七个任务：列五个，说还有两个；别的站点嵌不了。"""
    carried = [(uuid4(), 1) for _ in range(7)]
    async with build_client(settings.redis) as redis:
        job = Delivery(Priority.DEFAULT, "email:send", carried)
        await enqueue_many(build_queues(redis), [job], 60, 0.0)
        async with signed_in(api, ["ops:read"], "watcher") as watcher:
            page = await watcher.get("/console/queues", {"Accept-Language": "en"})
            listed = page.tested("parcels")
            assert job.key in page.text
            assert all(f"/console/tasks/{task}" in page.text for task, _ in carried[:5])
            assert "and 2 more" in listed
            framed = await watcher.get("/monitor/", HTML)
    assert framed.headers["X-Frame-Options"] == "SAMEORIGIN"
    assert "frame-ancestors 'self'" in framed.headers["Content-Security-Policy"]


async def test_who_may_only_look_cannot_retry_or_abort(api: Api, settings: Settings) -> None:
    async with queued_job(settings) as job, signed_in(api, ["ops:read"], "watcher") as watcher:
        assert (await watcher.get(job)).status == 200
        for verb in ("retry", "abort"):
            assert (await watcher.post(f"{job}/{verb}")).status == 403
        async with api.pool.connection() as connection:
            token = (await tokens.create(connection, "tool", ["ops:read"])).token
        async with api.session.get(job, headers=basic(token)) as response:
            assert response.status == 200
        async with api.session.post(f"{job}/abort", headers=basic(token)) as response:
            assert response.status == 403
        assert '"status": "queued"' in (await watcher.get(job)).text
        key = job.rpartition("/")[2]
        assert await watcher.audit() == [
            ("watcher", "monitor.retry", "refused", key),
            ("watcher", "monitor.abort", "refused", key),
            ("tool", "monitor.abort", "refused", key),
        ]


async def test_whoever_may_only_look_cannot_fill_the_audit(api: Api) -> None:
    async with signed_in(api, ["ops:read"], "watcher") as watcher:
        csrf = await watcher.csrf()
        for _ in range(20):
            assert (await watcher.post("/monitor/api/queues/default/jobs/x/abort")).status == 403
            assert (await watcher.post("/console/outbox/redrive", {"csrf_token": csrf})).status == 403
        noted = await watcher.audit()
        assert {entry[1] for entry in noted} == {"monitor.abort", "outbox.redrive"}
        assert len(noted) <= 20  # 两种操作，至多跨两分钟，每分钟五行；没有上限就是四十行


async def test_a_refusal_with_an_odd_name_is_recorded_and_an_address_that_is_none_is_not(api: Api) -> None:
    async with signed_in(api, ["ops:read"], "watcher") as watcher:
        assert (await watcher.post("/monitor/api/queues/a%00b/jobs/c%00d/abort")).status == 403
        assert (await watcher.post("/monitor/api/anything")).status == 404
        assert (await watcher.post("/monitor/api/queues")).status == 405
        assert await watcher.audit() == [("watcher", "monitor.abort", "refused", "c\\0d")]
    [(queue,)] = await api.rows("select detail ->> 'queue' from tb_audit where action = 'monitor.abort'")
    assert queue == "a\\0b"


async def test_an_operator_may_and_it_is_on_the_record(api: Api, settings: Settings) -> None:
    async with queued_job(settings) as job, signed_in(api) as visitor:
        for headers in ({}, {"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
            assert (await visitor.post(f"{job}/abort", headers=headers)).status == 403
        assert await visitor.audit() == []
        assert (await visitor.post(f"{job}/abort")).status == 200
        assert await visitor.audit() == [("operator", "monitor.abort", "ok", job.rpartition("/")[2])]
        assert '"status": "aborted"' in (await visitor.get(job)).text


async def test_what_the_rules_refuse_is_on_the_record(api: Api, settings: Settings) -> None:
    async with queued_job(settings) as job, signed_in(api) as visitor:
        missing = job.replace(":", "-")
        assert (await visitor.post(f"{missing}/abort")).status == 404
        assert await visitor.audit() == [("operator", "monitor.abort", "refused", missing.rpartition("/")[2])]
        assert await api.rows("select detail->>'code' from tb_audit where outcome = 'refused'") == [("1004",)]


async def test_what_cannot_be_recorded_is_not_done(api: Api, settings: Settings) -> None:
    async with queued_job(settings) as job, signed_in(api) as visitor:
        await api.rows("alter table tb_audit add constraint full_disk check (action <> 'monitor.abort')")
        assert (await visitor.post(f"{job}/abort")).status == 500
        assert '"status": "queued"' in (await visitor.get(job)).text


async def test_what_was_recorded_and_could_not_be_done_is_recorded_as_failed(api: Api, settings: Settings) -> None:
    async with queued_job(settings) as job, signed_in(api) as visitor, build_client(settings.redis) as redis:
        await redis.acl_setuser("default", enabled=True, commands=["-publish", "-set", "-setex"])
        try:
            status = (await visitor.post(f"{job}/abort")).status
        finally:
            await redis.acl_setuser("default", enabled=True, categories=["+@all"])
        key = job.rpartition("/")[2]
        assert status == 503
        assert await visitor.audit() == [
            ("operator", "monitor.abort", "ok", key),
            ("operator", "monitor.abort", "failed", key),
        ]
