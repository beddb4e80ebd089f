"""控制台的页面：说的是库里的事实，两种语言，没有内联脚本与样式，错误也给人看。"""

from __future__ import annotations

import html
import re
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote
from uuid import UUID, uuid4

from psycopg.types.json import Jsonb

from kaguan.config import Settings, load_settings
from kaguan.database.pool import Pool
from kaguan.outbox.vocabulary import id_floor
from kaguan.words.reasons import Reason
from tests.support.console import Page, Visitor, signed_in
from tests.support.eventually import eventually
from tests.support.folded import folded
from tests.support.in_hand import HOLD
from tests.support.pipeline import open_pipeline
from tests.support.places import own_port
from tests.support.serving import Api, serving

PAGES = [
    "/",
    "/console/live/overview",
    "/console/tasks",
    "/console/dead-letters",
    "/console/dead-letters?preview=1",
    "/console/vanished",
    "/console/schedules",
    "/console/outbox",
    "/console/database",
    "/console/queues",
    "/console/holders",
    "/console/stats",
    "/console/verdict",
    "/console/sims",
    "/console/audit",
]
EVENT = "insert into tb_task_event (task_id, kind, attempt, delivery) values (%s, %s, 1, 1)"
HOSTILE = "<script>alert(1)</script>"
INLINE = re.compile(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=|javascript:", re.IGNORECASE)


async def submit(api: Api, count: int = 1, **more: Any) -> list[UUID]:
    mail = {"type": "email:send", "to": ["a@example.com"], "subject": "s", "body": "b", **more}
    accepted = await api.post("/tasks/batch", {"tasks": [mail] * count})
    return [UUID(item["task"]["task_id"]) for item in accepted.data["items"]]


def rows_in(page: Page) -> list[UUID]:
    return [UUID(found) for found in re.findall(r'<tr data-task="([^"]+)"', page.text)]


@folded("path", PAGES)
async def test_every_page_renders_in_both_languages_without_inline_code(api: Api, path: str) -> None:
    await submit(api, 2)
    async with signed_in(api) as visitor:
        for language, mark in (("zh", 'lang="zh-CN"'), ("en", 'lang="en"')):
            page = await visitor.get(path, {"Accept-Language": language})
            assert page.status == 200
            assert INLINE.search(page.text) is None
            assert "https://" not in page.text
            policy = page.headers["Content-Security-Policy"]
            assert "script-src 'self';" in policy
            assert "unsafe" not in policy
            assert page.headers["X-Frame-Options"] == "DENY"
            assert page.headers["Cache-Control"] == "no-store"
            if "/live/" not in path:
                assert mark in page.text
                assert '<a class="skip" href="#main">' in page.text
                assert page.text.count("<h1") == 1
                assert page.text.count('aria-current="page"') == 1


async def test_assets_are_ours_and_cached_for_good(api: Api) -> None:
    async with api.session.get("/console/login") as response:
        assets = re.findall(r'(?:src|href)="(/console/assets/[^"]+)"', await response.text())
    assert {asset.partition("?")[0].rpartition(".")[2] for asset in assets} == {"css", "js", "svg"}
    for asset in assets:
        async with api.session.get(asset) as response:
            assert response.status == 200
            assert "immutable" in response.headers["Cache-Control"]
    async with api.session.get("/console/assets/../mount.py") as response:
        assert response.status == 404


async def test_the_overview_counts_what_waits_runs_and_failed(settings: Settings, pool: Pool) -> None:
    async with serving(settings) as api, open_pipeline(settings, pool) as pipeline, signed_in(api) as visitor:
        held, *_ = await submit(api, 3, priority="critical")
        page = await visitor.get("/")
        assert page.tested("waiting") == "3"
        assert 0 <= float(page.tested("rate-accepted")) <= 3 / 5  # 五秒一段：多半还没过完
        await pipeline.forwarder.run_once()
        await api.rows(HOLD, "node-1/7", "12 s", [held])
        page = await until_fresh(visitor, "running", "1")
        assert page.tested("queued") == "2"
        assert "node-1/7" in page.tested("workers")
        assert 'data-concern="no_relay"' in page.text  # 用例里没有 relay 进程连着
        await api.rows("delete from tb_work where task_id = %s", held)
        await api.rows("update tb_task set status = 'uncertain' where id = %s", held)
        for kind in ("interrupted", "attempt_failed"):  # 过一会儿再来看的，不是例外
            await api.rows(EVENT, held, kind)
        page = await until_fresh(visitor, "running", "0")
        assert re.findall(r'data-fault="(\w+)"', page.text) == ["attempt_failed"]
        assert page.tested("dead") == "1"
        assert 'data-concern="uncertain"' in page.text


async def test_a_lease_handed_back_a_moment_ago_breaks_no_page(api: Api) -> None:
    [task_id] = await submit(api)
    await api.rows(HOLD, "node-1/7", "0", [task_id])
    await api.rows("update tb_work set lease_until = '-infinity'")
    async with signed_in(api) as visitor:
        page = await visitor.get("/")
        assert page.status == 200
        assert 'data-concern="expired"' in page.text
        assert (await visitor.get(f"/console/tasks/{task_id}")).status == 200
    assert (await api.get(f"/tasks/{task_id}")).status == 200
    assert (await api.get("/tasks?status=running")).data["items"][0]["task_id"] == str(task_id)


async def until_fresh(visitor: Visitor, name: str, wanted: str) -> Page:
    """快照至多一秒旧：问到变为止。"""

    async def there() -> Page | None:
        page = await visitor.get("/console/live/overview")
        return page if page.tested(name) == wanted else None

    page = await eventually(there)
    assert page is not None
    return page


async def test_the_last_hand_over_is_told_however_many_wait(settings: Settings, pool: Pool) -> None:
    async with serving(settings) as api, open_pipeline(settings, pool) as pipeline, signed_in(api) as visitor:
        await pipeline.epoch.run_once()
        await submit(api)
        await pipeline.forwarder.run_once()
        await api.rows("update tb_task set status = 'succeeded', finished_at = now()")
        await pipeline.submit(300)
        for path, said in (("/", "last-forward"), ("/console/outbox", "last-forward")):
            page = await visitor.get(path, {"Accept-Language": "en"})
            assert page.tested(said).endswith("ago"), path


async def test_the_last_hand_over_is_written_at_most_once_a_second(settings: Settings, pool: Pool) -> None:
    written = "select forwarded_at from tb_broker"
    async with open_pipeline(settings, pool) as pipeline:
        await pipeline.epoch.run_once()
        await pipeline.submit(1)
        await pipeline.forwarder.run_once()
        [(first,)] = await pipeline.sql(written)
        await pipeline.sql("update tb_broker set forwarded_at = now() + interval '1 hour'")  # 就像刚刚写过
        [(held,)] = await pipeline.sql(written)
        await pipeline.submit(1)
        await pipeline.forwarder.run_once()
        assert await pipeline.sql(written) == [(held,)]
        await pipeline.sql("update tb_broker set forwarded_at = now() - interval '2 seconds'")
        await pipeline.submit(1)
        await pipeline.forwarder.run_once()
        [(again,)] = await pipeline.sql(written)
        assert first is not None
        assert again > first


async def test_the_latest_exceptions_are_on_the_overview(api: Api) -> None:
    [task_id] = await submit(api)
    await api.rows(
        "insert into tb_task_event (task_id, kind, attempt, delivery, detail) values "
        """(%s, 'attempt_failed', 1, 1, jsonb_build_object('reason', %s::text)), (%s, 'retried', 0, 2, '{}')""",
        task_id,
        HOSTILE,
        task_id,
    )
    async with signed_in(api) as visitor:
        page = await visitor.get("/")
        faults = page.tested("faults")
        assert "尝试失败" in faults
        assert "人工重来" not in faults
        assert HOSTILE not in page.text
        assert "&lt;script&gt;" in page.text


async def test_redis_away_is_said_and_the_page_still_comes(environ: dict[str, str]) -> None:
    settings = load_settings({**environ, "KAGUAN_REDIS__URL": f"redis://127.0.0.1:{own_port()}/0"})
    async with serving(settings) as api, signed_in(api) as visitor:
        page = await visitor.get("/", {"Accept-Language": "en"})
        assert page.status == 200
        assert 'data-verdict="bad"' in page.text
        assert 'data-concern="redis"' in page.text


async def test_an_empty_list_says_how_to_begin_and_one_that_a_filter_emptied_how_to_clear_it(api: Api) -> None:
    async with signed_in(api) as visitor:
        tasks = await visitor.get("/console/tasks")
        assert "make demo" in tasks.tested("first-step")
        assert ("/docs#submit_email" in tasks.text, 'data-testid="clear"' in tasks.text) == (True, False)
        assert (await visitor.get("/console/sims")).tested("first-step")
        for page in ("tasks?type=email:send", "sims?tag=none", "audit?actor=nobody"):
            narrowed = (await visitor.get(f"/console/{page}")).text
            link = f'href="/console/{page.partition("?")[0]}" data-testid="clear"'
            assert ("first-step" in narrowed, link in narrowed) == (False, True)


async def test_the_list_of_tasks_renews_itself_as_it_is_filtered_but_no_older_page_does(api: Api) -> None:
    await submit(api, 51)
    async with signed_in(api) as visitor:
        page = (await visitor.get("/console/tasks?type=email:send")).text
        [live] = re.findall(r'data-live="([^"]+)" data-every="\d+" data-still>', page)
        fragment = await visitor.get(html.unescape(live))
        assert (fragment.text.count("<tr data-task="), "<form" in fragment.text) == (50, False)
        [older] = re.findall(r'href="([^"]+)" rel="next"', page)
        assert "data-still data-final" in (await visitor.get(html.unescape(older))).text
        assert (await visitor.get("/console/live/tasks?status=failed")).text.count("<tr data-task=") == 0


async def test_tasks_are_found_by_status_type_queue_key_id_and_time(api: Api) -> None:
    [first] = await submit(api, request_id="bill-1", priority="low")
    [second] = await submit(api)
    sync = {"sync_type": "usage", "start_date": "2026-01-01", "end_date": "2026-01-01"}
    third = UUID((await api.post("/tasks/sync", sync)).data["task_id"])
    await api.rows("update tb_task set status = 'succeeded', finished_at = now() where id = %s", first)
    async with signed_in(api) as visitor:
        for query, wanted in (
            ("", [third, second, first]),
            ("status=succeeded", [first]),
            ("status=pending", [third, second]),
            ("type=data:sync", [third]),
            ("queue=low", [first]),
            ("status=succeeded&queue=critical", []),
            ("type=email:send&queue=low", [first]),
            ("q=bill-1", [first]),
            ("q=unknown", []),
            ("since=2100-01-01T00:00", []),
            ("until=2020-01-01T00:00", []),
            ("since=2020-01-01T00:00%2B08:00", [third, second, first]),
            (f"cursor={second}", [first]),
        ):
            page = await visitor.get(f"/console/tasks?{query}")
            assert rows_in(page) == wanted, query
        page = await visitor.get(f"/console/tasks?q={str(first).upper()}")
        assert (page.status, page.location) == (303, f"/console/tasks/{first}")


async def test_the_time_a_table_shows_is_the_time_a_filter_takes_in_the_zone_both_name(environ: dict[str, str]) -> None:
    zone = "America/St_Johns"  # -03:30，不会碰巧与 UTC、与浏览器、与默认的相同
    async with serving(load_settings(environ | {"KAGUAN_TIME_ZONE": zone}), name="zone") as api:
        [task_id] = await submit(api)
        accepted = datetime(2026, 2, 3, 5, 6, 7, tzinfo=UTC)
        await api.rows("update tb_task set id = %s, created_at = %s", id_floor(accepted), accepted)
        async with signed_in(api) as visitor:
            page = await visitor.get("/console/tasks")
            assert "2026-02-03 01:36:07 -03:30" in page.tested("tasks")
            assert f"受理不早于（{zone}）" in page.text
            assert page.tested("zone").startswith(f"时间为 {zone}（-0")
            for query, found in (
                ("since=2026-02-03T01:36&until=2026-02-03T01:37", 1),
                ("since=2026-02-03T05:06&until=2026-02-03T05:07", 0),
                ("since=2026-02-03T05:06Z&until=2026-02-03T05:07Z", 1),
            ):
                assert len(rows_in(await visitor.get(f"/console/tasks?{query}"))) == found, query
            await api.rows("update tb_task set status = 'failed', finished_at = created_at")
            page = await visitor.get("/console/dead-letters?preview=1&since=2026-02-03T01:36&until=2026-02-03T01:37")
            assert "会重放 1 个" in page.tested("preview-count")
            page = await visitor.get("/console/tasks?since=2026-03-08T02:30")  # 那天两点拨到三点
            assert "since" in re.findall(r'role="alert">([^<]*)<', page.text)[0]
            assert task_id not in rows_in(page)


@folded("query", ["status=nonsense", "type=x", "queue=x", "since=yesterday", "until=9999-12-31T25:00"])
async def test_a_filter_that_is_not_understood_is_named_and_ignored(api: Api, query: str) -> None:
    await api.rows("truncate tb_task cascade")
    [task_id] = await submit(api)
    async with signed_in(api) as visitor:
        page = await visitor.get(f"/console/tasks?{query}")
        assert rows_in(page) == [task_id]
        assert query.partition("=")[0] in re.findall(r'role="alert">([^<]*)<', page.text)[0]


async def test_older_pages_follow_one_another_without_gap_or_repeat(api: Api) -> None:
    tasks = await submit(api, 120)
    async with signed_in(api) as visitor:
        seen: list[UUID] = []
        path: str | None = "/console/tasks?status=pending"
        while path is not None:
            page = await visitor.get(path)
            seen += rows_in(page)
            found = re.search(r'href="([^"]+)" rel="next"', page.text)
            path = None if found is None else found[1].replace("&amp;", "&")
        assert seen == sorted(tasks, reverse=True)


async def test_a_task_tells_its_whole_story(api: Api) -> None:
    [task_id] = await submit(api, request_id="story-1")
    await api.rows("delete from tb_outbox")
    await api.rows(
        """
        update tb_task set status = 'failed', attempt = 2, queued_at = created_at, started_at = created_at,
            finished_at = created_at + interval '9 seconds', last_error = '{"reason": "550 5.1.1"}',
            progress = '{"done": 40, "total": 100}', result = jsonb_build_object('note', %s::text)
        where id = %s
        """,
        HOSTILE,
        task_id,
    )
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    await api.rows(
        "insert into tb_task_event (task_id, kind, attempt, delivery, worker, detail, traceparent) values "
        """(%s, 'attempt_failed', 1, 1, 'node-1/7', '{"reason": "450 4.2.1"}', %s)""",
        task_id,
        f"00-{trace}-00f067aa0ba902b7-01",
    )
    async with signed_in(api) as visitor:
        page = await visitor.get(f"/console/tasks/{task_id}")
        assert page.tested("status") == "失败"
        assert page.tested("last-error") == "550 5.1.1"
        assert "450 4.2.1" in page.tested("attempts")
        assert trace[:8] in page.tested("attempts")
        assert re.findall(r"(受理|入队|开始执行|尝试失败)", page.tested("timeline"))[:3] == ["受理", "入队", "开始执行"]
        assert "story-1" in page.tested("facts")
        assert 'max="100" value="40"' in page.text
        assert HOSTILE not in page.text
        assert page.tested("summary") == "a@example.com · s"
        assert 'data-testid="retry"' in page.text
        assert 'data-testid="cancel"' not in page.text
        assert "KAGUAN_TELEMETRY__TRACES_URL" in page.tested("trace")  # 没有配置就说没有


async def test_a_stuck_ordering_key_is_seen_from_every_task_on_it(api: Api) -> None:
    key = "order:42/<b>&x"
    tasks = await submit(api, 15, ordering_key=key)
    [alone] = await submit(api)
    await api.rows(
        "update tb_task set status = 'retrying', attempt = 1, delivery = 2, available_at = now() + interval '1 hour', "
        'last_error = \'{"reason": "450 busy"}\' where id = %s',
        tasks[0],
    )
    async with signed_in(api) as visitor:
        page = await visitor.get(f"/console/tasks/{tasks[2]}")
        assert re.sub(r"\s+", " ", html.unescape(page.tested("ordering-key"))) == f"{key} 第 3 个"
        blocked = page.text.partition('data-testid="blocked-by"')[2].partition("</p>")[0]
        assert f'href="/console/tasks/{tasks[0]}"' in blocked
        assert 'data-status="retrying"' in blocked
        assert "450 busy" in blocked
        assert "后" in blocked
        behind = page.text.partition('data-testid="behind"')[2].partition("</p>")[0]
        assert [UUID(found) for found in re.findall(r'href="/console/tasks/([0-9a-f-]{36})"', behind)] == tasks[3:13]
        assert "还有" in behind
        head = await visitor.get(f"/console/tasks/{tasks[0]}")
        assert 'data-testid="blocked-by"' not in head.text
        assert "第 1 个" in head.tested("ordering-key")
        assert "有序键" not in (await visitor.get(f"/console/live/tasks/{alone}")).text
        page = await visitor.get(f"/console/tasks?key={quote(key)}&status=retrying")
        assert rows_in(page) == [tasks[0]]
        assert f'href="/console/tasks?key={quote(key)}"' in page.text
        assert len(rows_in(await visitor.get(f"/console/tasks?key={quote(key)}"))) == 15


async def test_what_is_not_there_is_a_page_that_says_so(api: Api) -> None:
    async with signed_in(api) as visitor:
        for path in (f"/console/tasks/{uuid4()}", "/console/tasks/nonsense", "/console/nowhere", "/console/"):
            page = await visitor.get(path, {"Accept-Language": "en"})
            assert page.status == 404, path
            assert page.headers["Content-Type"].startswith("text/html")
            said = page.tested("error")
            assert f"<title>{said} · " in page.text
            if path in {"/console/nowhere", "/console/"}:
                assert said == "There is no such page"
                assert page.tested("nowhere") == path
            else:
                assert "not" in said.lower()
            assert page.headers["X-Request-ID"] in page.text
        async with visitor.session.delete("/console/tasks") as response:
            assert response.status == 405
            assert response.content_type == "text/html"
    async with api.session.get("/nowhere") as response:
        assert response.content_type == "application/json"  # 别处仍是信封


async def test_parked_rows_are_listed_with_their_reason(api: Api) -> None:
    [task_id] = await submit(api)
    await api.rows("update tb_outbox set parked_at = now(), parked_reason = %s", HOSTILE)
    await api.rows("update tb_task set status = 'failed', finished_at = now()")
    async with signed_in(api) as visitor:
        page = await visitor.get("/console/outbox")
        assert HOSTILE not in page.text
        assert "&lt;script&gt;" in page.text
        assert str(task_id) in page.text
        await visitor.act(f"/console/tasks/{task_id}/retry")
        assert await api.rows("select parked_at from tb_outbox") == [(None,)]


async def test_our_own_reasons_are_read_in_english_and_foreign_words_stay(api: Api) -> None:
    [ours, theirs] = await submit(api, 2)
    await api.rows("delete from tb_outbox")
    deferred = Reason("mail.deferred", {"replies": [Reason("mail.reply", {"reply": Reason.of("451"), "count": 1})]})
    used_up = Reason("outbox.attempts_used_up", {"attempts": 2, "reason": deferred})
    for task_id, reason in ((ours, used_up), (theirs, Reason.of("550 用户不存在"))):
        await api.rows(
            "update tb_task set status = 'failed', finished_at = now(), last_error = %s where id = %s",
            Jsonb(reason.stored()),
            task_id,
        )
    async with signed_in(api) as visitor:
        assert (await visitor.act(f"/console/tasks/{ours}/cancel")).status == 409
        for path in ("/console/tasks", "/console/dead-letters", f"/console/tasks/{ours}"):
            chinese = (await visitor.get(path)).text
            assert "次尝试用尽" in chinese
            english = (await visitor.get(path, {"Accept-Language": "en"})).text
            assert "次尝试用尽" not in english
            assert "2 attempts used up: not delivered for now (451 × 1)" in english
        assert "550 用户不存在" in (await visitor.get("/console/tasks", {"Accept-Language": "en"})).text
        assert "不能取消" in (await visitor.get("/console/audit")).tested("audit")
        audit = (await visitor.get("/console/audit", {"Accept-Language": "en"})).tested("audit")
        assert "task is already failed" in audit
        assert not re.search(r"[\u4e00-\u9fff]|why", audit)


async def test_audited_refusals_are_told_in_the_readers_language_uncoded_ones_too(api: Api) -> None:
    details = [
        {"code": 1003, "reason": "需要权限 ops", "why": {"code": "tokens.no_scope", "parameters": {"scope": "ops"}}},
        {"code": 1006, "reason": "请求过于频繁"},
        {"reason": "RedisError"},
    ]
    for detail in details:
        await api.rows(
            "insert into tb_audit (actor, action, outcome, detail) values ('anna', 'task.cancel', 'refused', %s)",
            Jsonb(detail),
        )
    async with signed_in(api) as visitor:
        chinese = (await visitor.get("/console/audit")).tested("audit")
        english = (await visitor.get("/console/audit", {"Accept-Language": "en"})).tested("audit")
    for said in ("需要权限 ops", "请求过于频繁", "RedisError"):
        assert said in chinese
    for said in ("scope ops is required", "too many requests", "RedisError"):
        assert said in english
    assert not re.search(r"[\u4e00-\u9fff]|why", english)


async def test_a_parked_row_says_why_in_the_readers_language(api: Api) -> None:
    [coded, legacy] = await submit(api, 2)
    why = Reason("outbox.unknown_type", {"type": "sim:magic"})
    for task_id, text in ((coded, str(why)), (legacy, "从前的缘故")):
        await api.rows("update tb_task set last_error = %s where id = %s", Jsonb(why.stored()), task_id)
        await api.rows("update tb_outbox set parked_at = now(), parked_reason = %s where task_id = %s", text, task_id)
    async with signed_in(api) as visitor:
        chinese = (await visitor.get("/console/outbox")).text
        english = (await visitor.get("/console/outbox", {"Accept-Language": "en"})).text
    assert "没有进程认得任务类型 sim:magic" in chinese
    assert "no process knows task type sim:magic" in english
    assert "从前的缘故" in chinese
    assert "从前的缘故" in english


async def test_dead_letters_are_grouped_by_type_and_reason(api: Api) -> None:
    await submit(api, 5)
    await api.rows("delete from tb_outbox")
    await api.rows(
        """
        update tb_task set status = 'failed', finished_at = now(), last_error = jsonb_build_object('reason',
            case when id > (select id from vw_task order by id offset 1 limit 1) then '450 busy' else '550 gone' end)
        """
    )
    async with signed_in(api) as visitor:
        table = (await visitor.get("/console/dead-letters")).tested("dead-failed")
        assert re.sub(r"\s+", " ", table).find("450 busy") < re.sub(r"\s+", " ", table).find("550 gone")
        assert "3" in table
        assert "没有" in (await visitor.get("/console/dead-letters")).tested("dead-uncertain")


VANISHED = """
insert into tb_vanished (task_id, type, request_id, delivery)
select ('01900000-0000-7000-8000-0000000000' || n)::uuid, 'email:send', case n when 60 then '<b>&17' end, 1
from generate_series(10, 60) as n
"""


async def test_what_vanished_is_listed_with_whose_it_was_and_what_to_do_and_the_overview_leads_there(api: Api) -> None:
    path, english = "/console/vanished", {"Accept-Language": "en"}
    async with signed_in(api) as visitor:
        assert "没有不见了的任务" in (await visitor.get(path)).tested("none-vanished")
        assert "No task has vanished" in (await visitor.get(path, english)).tested("none-vanished")
        await api.rows(VANISHED)
        page = await visitor.get(path)
        newest = UUID("01900000-0000-7000-8000-000000000060")
        assert (len(rows_in(page)), rows_in(page)[0]) == (50, newest)
        assert 'href="/console/tasks?q=%3Cb%3E%2617"' in page.text  # 补交了没有
        assert "<b>&17" not in page.text
        for said in (str(newest), "发邮件", "&lt;b&gt;&amp;17"):
            assert said in page.tested("vanished")
        assert "同样的 request_id 再提交" in page.tested("advice")
        foreign = await visitor.get(path, english)
        assert "E-mail" in foreign.tested("vanished")
        assert "same request_id" in foreign.tested("advice")
        older = re.search(r'href="([^"]+)" rel="next"', page.text)
        assert older is not None
        last = await visitor.get(older[1])
        assert rows_in(last) == [UUID("01900000-0000-7000-8000-000000000010")]
        assert 'rel="next"' not in last.text
        assert f'href="{path}"' in (await visitor.get("/console/dead-letters")).text
        for language, said in (("zh", "51 个任务不见了"), ("en", "vanished within a day: 51;")):
            overview = (await visitor.get("/", {"Accept-Language": language})).text
            assert re.search(rf'data-concern="vanished" data-subject=""><a href="{path}">[^<]*{said}', overview)


async def test_the_audit_is_paged_and_filtered(api: Api) -> None:
    await api.rows(
        "insert into tb_audit (actor, action, outcome, detail) "
        "select case when n % 2 = 0 then 'anna' else 'bert' end, 'task.cancel', 'ok', jsonb_build_object('n', n) "
        "from generate_series(1, 120) as n"
    )
    async with signed_in(api) as visitor:
        page = await visitor.get("/console/audit")
        assert page.text.count("<tr data-action") == 50
        older = re.search(r'href="([^"]+)" rel="next"', page.text)
        assert older is not None
        assert (await visitor.get(older[1])).text.count("<tr data-action") == 50
        anna = await visitor.get("/console/audit?actor=anna&action=task.cancel")
        assert "bert" not in anna.text
        assert (await visitor.get("/console/audit?action=console.login")).text.count("<tr data-action") == 1
        assert (await visitor.get("/console/audit?before=99999999999999999999&action=x")).status == 200
