"""控制台的操作：只认自己的页面、只认有权限的人，每一件都在审计里，与操作同一事务。"""

from __future__ import annotations

import html
import re
from urllib.parse import quote, urlencode
from uuid import UUID, uuid4

from kaguan.config import load_settings
from tests.support.console import Page, Visitor, signed_in
from tests.support.eventually import eventually
from tests.support.folded import folded
from tests.support.in_hand import HAND, HOLD
from tests.support.serving import Api, serving

MAIL = {"to": ["a@example.com"], "subject": "s", "body": "b"}
SCHEDULES = (
    '[{"name": "nightly", "cron": "30 2 * * *", "type": "data:sync", '
    '"payload": {"sync_type": "usage", "start_date": "{today-1}", "end_date": "{today-1}"}}]'
)


async def mail(api: Api) -> UUID:
    return UUID((await api.post("/tasks/email", MAIL)).data["task_id"])


async def failed_mail(api: Api, status: str = "failed") -> UUID:
    task_id = await mail(api)
    await fail(api, task_id, status)
    return task_id


async def fail(api: Api, task_id: UUID, status: str = "failed") -> None:
    await api.rows("delete from tb_outbox where task_id = %s", task_id)
    finished = "clock_timestamp()" if status == "failed" else "null"
    await api.rows(
        f"update tb_task set status = '{status}', attempt = 6, finished_at = {finished}, "
        """last_error = '{"reason": "550 5.1.1"}' where id = %s""",
        task_id,
    )


async def kept(visitor: Visitor, page: Page, name: str) -> str:
    """被拒之后回去的那一页上，``name`` 那一格里还有什么。"""
    (back,) = re.findall(r'href="([^"]+)" data-testid="back"', page.text)
    (cell,) = re.findall(rf'<input id="{name}"[^>]*>', (await visitor.get(html.unescape(back).partition("#")[0])).text)
    return html.unescape(*re.findall(r'value="([^"]*)"', cell))


async def status_of(api: Api, task_id: UUID) -> str:
    [(status,)] = await api.rows("select status from vw_task where id = %s", task_id)
    return str(status)


async def forged(visitor: Visitor) -> dict[str, tuple[dict[str, str], dict[str, str]]]:
    """伪造的表单：名字 → （字段，头）。"""
    token = {"csrf_token": await visitor.csrf()}
    async with signed_in(visitor.api, name="someone-else") as other:
        foreign = {"csrf_token": await other.csrf()}
    home = {"Origin": visitor.origin}
    return {
        "no token": ({}, home),
        "empty token": ({"csrf_token": ""}, home),
        "another session's token": (foreign, home),
        "another site": (token, {"Origin": "https://evil.example"}),
        "another port": (token, {"Origin": visitor.origin + "0"}),
        "an opaque origin": (token, {"Origin": "null"}),
        "a cross-site fetch": (token, {**home, "Sec-Fetch-Site": "cross-site"}),
        "a sibling site": (token, {**home, "Sec-Fetch-Site": "same-site"}),
        "from nowhere": (token, {}),
    }


async def test_a_forged_form_changes_nothing(api: Api) -> None:
    task_id = await mail(api)
    async with signed_in(api) as visitor:
        for name, (form, headers) in (await forged(visitor)).items():
            page = await visitor.post(f"/console/tasks/{task_id}/cancel", form, headers)
            assert page.status == 403, name
        assert await status_of(api, task_id) == "pending"
        genuine = {"csrf_token": await visitor.csrf()}
        page = await visitor.post(f"/console/tasks/{task_id}/cancel", genuine, {"Sec-Fetch-Site": "same-origin"})
        assert page.status == 303
        assert await status_of(api, task_id) == "cancelled"


async def test_who_may_only_look_sees_no_buttons_and_is_refused_on_the_record(api: Api) -> None:
    dead, waiting = await failed_mail(api), await mail(api)
    async with signed_in(api, ["ops:read"], "watcher") as watcher:
        for path in (
            f"/console/tasks/{dead}",
            f"/console/tasks/{waiting}",
            "/console/outbox",
            "/console/pauses",
            "/console/schedules",
        ):
            page = await watcher.get(path)
            assert page.status == 200
            assert page.text.count('method="post"') == 2  # 语言明暗、退出
        for path in (
            f"/console/tasks/{waiting}/cancel",
            f"/console/tasks/{dead}/retry",
            "/console/dead-letters/replay",
            "/console/outbox/redrive",
            "/console/pauses",
            f"/console/pauses/{uuid4()}/resume",
            "/console/limits",
            "/console/limits/clear",
            "/console/workers/drain",
            "/console/schedules/nightly/disable",
        ):
            assert (await watcher.act(path)).status == 403
        assert {entry[2] for entry in await watcher.audit()} == {"refused"}
        assert len(await watcher.audit()) == 10
    assert (await status_of(api, dead), await status_of(api, waiting)) == ("failed", "pending")


async def test_without_a_session_or_with_another_token_nobody_gets_in(api: Api) -> None:
    task_id = await mail(api)
    async with signed_in(api) as visitor:
        csrf = await visitor.csrf()
        await visitor.act("/console/logout")
        page = await visitor.post(f"/console/tasks/{task_id}/cancel", {"csrf_token": csrf})
        assert (page.status, page.location) == (303, "/console/login?next=%2F")
    assert await status_of(api, task_id) == "pending"
    async with signed_in(api) as visitor:
        await api.rows("update tb_api_token set scopes = '{tasks:read,tasks:write}' where name = 'operator'")
        assert (await visitor.get("/")).status == 403


async def test_a_waiting_task_is_cancelled_and_said_so(api: Api) -> None:
    task_id = await mail(api)
    async with signed_in(api) as visitor:
        assert 'data-testid="cancel"' in (await visitor.get(f"/console/tasks/{task_id}")).text
        rings = len(api.rings)
        page = await visitor.act(f"/console/tasks/{task_id}/cancel", back=f"/console/tasks/{task_id}")
        assert len(api.rings) == rings + 1  # 同键的下一个也许放行了
        assert (page.status, page.location) == (303, f"/console/tasks/{task_id}")
        shown = await visitor.get(page.location)
        assert shown.tested("notice") == "任务已取消。"
        assert 'data-testid="cancel"' not in shown.text
        assert 'data-testid="notice"' not in (await visitor.get(page.location)).text  # 只说一次
        assert await visitor.audit() == [("operator", "task.cancel", "ok", str(task_id))]
    events = await api.rows("select kind, actor from tb_task_event where task_id = %s", task_id)
    assert events == [("cancelled", "operator")]


@folded("status", ["failed", "uncertain"])
async def test_a_dead_task_is_run_again_and_the_relay_is_woken(api: Api, status: str) -> None:
    await api.rows("truncate tb_audit")
    task_id = await failed_mail(api, status)
    async with signed_in(api) as visitor:
        rings = len(api.rings)
        page = await visitor.act(f"/console/tasks/{task_id}/retry", back="/console/dead-letters")
        assert page.location == "/console/dead-letters"
        assert len(api.rings) == rings + 1
        assert await visitor.audit() == [("operator", "task.retry", "ok", str(task_id))]
    assert await status_of(api, task_id) == "pending"
    assert await api.rows("select count(*) from tb_outbox where task_id = %s", task_id) == [(1,)]


@folded(("outcome", "status"), [("happened", "succeeded"), ("not_happened", "failed")])
async def test_what_became_of_an_uncertain_task_is_told_with_how_it_is_known(
    api: Api, outcome: str, status: str
) -> None:
    await api.rows("truncate tb_audit")
    task_id = await failed_mail(api, "uncertain")
    path = f"/console/tasks/{task_id}"
    async with signed_in(api) as visitor:
        assert 'data-testid="resolve"' in (await visitor.get(path)).text
        for note in (" ", "a\x00b"):
            assert (await visitor.act(f"{path}/resolve", outcome=outcome, note=note)).status == 400
        page = await visitor.act(f"{path}/resolve", outcome="perhaps", note="queued as 4XkQ2", back=path)
        assert await kept(visitor, page, "note") == "queued as 4XkQ2"
        await visitor.act(f"{path}/resolve", outcome=outcome, note="queued as 4XkQ2", back=path)
        shown = await visitor.get(path)
        assert 'data-testid="resolve"' not in shown.text
        assert "queued as 4XkQ2" in shown.text
        assert [entry[2] for entry in await visitor.audit()] == ["refused", "refused", "ok"]
    async with signed_in(api, ["ops:read"], "watcher") as watcher:
        assert "queued as 4XkQ2" not in (await watcher.get(path)).text
    assert await status_of(api, task_id) == status


async def test_all_that_match_are_cancelled_in_three_clicks_exactly_as_seen(api: Api) -> None:
    ids = [await mail(api) for _ in range(3)]
    async with signed_in(api) as visitor:
        assert 'data-testid="sweep"' not in (await visitor.get("/console/tasks")).text
        listed = await visitor.get("/console/tasks?type=email:send&caller=test")
        assert 'data-testid="deed-cancel"' in listed.text
        looked = await visitor.get("/console/tasks?type=email:send&caller=test&deed=cancel")
        assert "3" in looked.tested("would")
        [selection] = re.findall(r'name="selection" value="([^"]+)"', looked.text)
        later = await mail(api)
        done = await visitor.act("/console/tasks/cancel", selection=selection, back="/console/tasks")
        assert (done.status, done.location) == (303, "/console/tasks")
        assert [await status_of(api, one) for one in (*ids, later)] == ["cancelled"] * 3 + ["pending"]
        assert "3" in (await visitor.get(done.location)).tested("notice")
        assert (await visitor.act("/console/tasks/retry", selection=selection)).status == 400
        assert [entry[1:3] for entry in await visitor.audit()] == [("task.cancel", "ok"), ("task.retry", "refused")]
        for path in ("status=failed&caller=test", "status=succeeded&caller=test", "since=soon&caller=test"):
            assert 'data-testid="would"' not in (await visitor.get(f"/console/tasks?{path}&deed=cancel")).text
    async with signed_in(api, ["ops:read"], "watcher") as watcher:
        assert 'data-testid="sweep"' not in (await watcher.get("/console/tasks?caller=test")).text
        assert (await watcher.act("/console/tasks/cancel", selection=selection)).status == 403


async def test_a_type_is_paused_and_resumed_with_reason_and_the_task_says_why_it_waits(api: Api) -> None:
    task_id = await mail(api)
    wanted = {"scope": "type", "name": "email:send", "minutes": "30", "reason": 'relay host "moves" <b>'}
    async with signed_in(api) as visitor:
        for wrong in ({"scope": "all"}, {"name": "email:sent"}, {"reason": " "}, {"minutes": "0"}):
            page = await visitor.act("/console/pauses", **{**wanted, **wrong})
            chosen = urlencode({name: {**wanted, **wrong}[name] for name in ("scope", "name", "reason")})
            assert page.status == 400
            assert f'href="/console/pauses?{chosen}#reason" data-testid="back"'.replace("&", "&amp;") in page.text
            assert await kept(visitor, page, "reason") == {**wanted, **wrong}["reason"]
        page = await visitor.act("/console/pauses", **wanted)
        assert (page.status, page.location) == (303, "/console/pauses")
        assert "relay host " in (await visitor.get(page.location)).text
        assert "relay host " in (await visitor.get(f"/console/tasks/{task_id}")).text
        assert 'data-concern="paused"' in (await visitor.get("/")).text
        [(pause_id,)] = await api.rows("select id from tb_pause")
        rings = len(api.rings)
        assert (await visitor.act(f"/console/pauses/{pause_id}/resume")).status == 303
        assert len(api.rings) == rings + 1
        assert 'data-testid="no-pauses"' in (await visitor.get("/console/pauses")).text
        assert (await visitor.act(f"/console/pauses/{pause_id}/resume")).status == 404
        refused, resumed = [("pause.create", "refused")] * 4, [("pause.resume", "ok"), ("pause.resume", "refused")]
        told = [entry[1:3] for entry in await visitor.audit()]
        assert told == [*refused, ("pause.create", "ok"), *resumed]


async def test_a_waiting_task_is_changed_with_a_reason_that_its_page_tells(api: Api) -> None:
    task_id = await mail(api)
    path = f"/console/tasks/{task_id}"
    wanted = {"priority": "critical", "minutes": "30", "reason": "customer waits"}
    async with signed_in(api) as visitor:
        assert 'data-testid="change"' in (await visitor.get(path)).text
        for wrong in (
            {"priority": "urgent"},
            {"minutes": "-1"},
            {"minutes": "99999999"},
            {"reason": " "},
            {"priority": "", "minutes": ""},
        ):
            page = await visitor.act(f"{path}/change", **{**wanted, **wrong})
            assert page.status == 400, wrong
            assert await kept(visitor, page, "change-reason") == {**wanted, **wrong}["reason"]
        assert (await visitor.act(f"{path}/change", **wanted, back=path)).status == 303
        assert "customer waits" in (await visitor.get(path)).text
        assert await api.rows("select priority, available_at > now() from tb_outbox") == [(0, True)]
        await visitor.act(f"{path}/cancel")
        assert 'data-testid="change"' not in (await visitor.get(path)).text
        assert (await visitor.act(f"{path}/change", **wanted)).status == 409


async def test_a_limit_is_set_and_cleared_where_the_pauses_are(api: Api) -> None:
    wanted = {"what": "type/email:send", "at_once": "2", "minutes": "30", "reason": "relay host moves"}
    carrier = {"what": "carrier/onelink", "per_second": "5", "minutes": "30", "reason": "carrier moves"}
    async with signed_in(api) as visitor:
        assert 'data-testid="no-limits"' in (await visitor.get("/console/pauses")).text
        for wrong in (
            {"what": "type/email:sent"},
            {"what": "email:send"},
            {"reason": " "},
            {"minutes": "0"},
            {"at_once": ""},
            {"at_once": "101"},
            {"per_second": "5"},
        ):
            page = await visitor.act("/console/limits", **{**wanted, **wrong})
            assert page.status == 400
            assert page.text.count(page.tested("error")) == 2  # 标题与正文，没有再列一遍
            chosen = quote({**wanted, **wrong}["what"], safe="")
            assert f'href="/console/pauses?limit={chosen}&amp;' in page.text
            assert await kept(visitor, page, "limit-reason") == {**wanted, **wrong}["reason"]
            assert await kept(visitor, page, "reason") == ""
        for form in (wanted, carrier):
            page = await visitor.act("/console/limits", **form)
            assert (page.status, page.location) == (303, "/console/pauses#limits")
        page = await visitor.get("/console/pauses")
        shown = page.text
        assert ("停着什么" in page.tested("limits"), "管着什么" in page.tested("limits")) == (False, True)
        home = (await visitor.get("/")).text
        assert ('data-subject="type/email:send"' in home, "暂停与限额" in home) == (True, True)
        assert ("relay host moves" in shown, "carrier moves" in shown, "配置 50" in shown) == (True, True, True)
        for form in (wanted, carrier):
            assert (await visitor.act("/console/limits/clear", what=form["what"])).status == 303
        assert 'data-testid="no-limits"' in (await visitor.get("/console/pauses")).text
        assert (await visitor.act("/console/limits/clear", what=wanted["what"])).status == 404
        told = [entry[1:3] for entry in await visitor.audit() if entry[2] == "ok"]
        assert told == [("limit.set", "ok")] * 2 + [("limit.clear", "ok")] * 2


async def test_a_worker_is_drained_on_its_line_of_the_overview(api: Api) -> None:
    await api.rows(HOLD, "w-1", "1 hour", [await mail(api)])
    form = {"worker": "w-1", "reason": "leaks memory"}
    async with signed_in(api, ["ops:read"], "watcher") as watcher:
        assert 'data-testid="drain"' not in (await watcher.get("/")).text
    async with signed_in(api) as visitor:

        async def offered() -> bool:
            return 'data-testid="drain"' in (await visitor.get("/")).text

        async def told() -> bool:
            page = await visitor.get("/")
            return "operator，leaks memory" in page.text and 'data-testid="drain"' not in page.text

        await eventually(offered)
        assert (await visitor.act("/console/workers/drain", **{**form, "reason": " "})).status == 400
        page = await visitor.act("/console/workers/drain", **{**form, "worker": "w-2"})
        assert (page.status, "w-1" in page.text) == (404, True)
        page = await visitor.act("/console/workers/drain", **form)
        assert (page.status, page.location) == (303, "/#workers")
        await eventually(told)
        assert [entry[1:] for entry in await visitor.audit() if entry[2] == "ok"] == [("worker.drain", "ok", "w-1")]


async def test_what_the_rules_refuse_is_shown_and_recorded_as_refused(api: Api) -> None:
    task_id = await mail(api)
    async with signed_in(api) as visitor:
        page = await visitor.act(f"/console/tasks/{task_id}/retry", back=f"/console/tasks/{task_id}")
        assert page.status == 409
        assert "不能重来" in page.tested("error")
        assert f'href="/console/tasks/{task_id}" data-testid="back"' in page.text
        missing = uuid4()
        assert (await visitor.act(f"/console/tasks/{missing}/cancel")).status == 404
        assert (await visitor.act("/console/tasks/nonsense/cancel")).status == 404
        assert await visitor.audit() == [
            ("operator", "task.retry", "refused", str(task_id)),
            ("operator", "task.cancel", "refused", str(missing)),
            ("operator", "task.cancel", "refused", "nonsense"),
        ]
        await api.rows("truncate tb_audit")
        for name in ("a%00b", "x" * 5_000):  # 照原样存不下的
            assert (await visitor.act(f"/console/schedules/{name}/enable")).status == 404
        assert await visitor.audit() == [
            ("operator", "schedule.enable", "refused", "a\\0b"),
            ("operator", "schedule.enable", "refused", "x" * 200),
        ]


async def test_an_action_whose_record_cannot_be_written_does_not_happen(api: Api) -> None:
    task_id = await mail(api)
    async with signed_in(api) as visitor:
        csrf = await visitor.csrf()
        await api.rows("alter table tb_audit add constraint full_disk check (action <> 'task.cancel')")
        page = await visitor.post(f"/console/tasks/{task_id}/cancel", {"csrf_token": csrf})
        assert page.status == 500
    assert await status_of(api, task_id) == "pending"


def selection_in(page: Page) -> str:
    """试运行页上「确认」要交的那张表单里，选定了谁。"""
    found = re.search(r'name="selection" value="([^"]+)"', page.text)
    assert found is not None
    return found[1]


async def test_replay_shows_what_would_go_offers_all_and_goes_only_when_confirmed(api: Api) -> None:
    dead = [await failed_mail(api) for _ in range(3)]
    async with signed_in(api) as visitor:
        page = await visitor.get("/console/dead-letters?preview=1&status=failed&limit=2")
        offer = re.search(r'href="([^"]+)" data-testid="preview-all">改为全部 3 个<', page.text)
        assert offer is not None
        page = await visitor.get(html.unescape(offer[1]))
        assert "会重放 3 个" in page.tested("preview-count")
        assert 'data-testid="preview-limited"' not in page.text
        page = await visitor.get("/console/dead-letters?preview=1&status=failed&type=email:send&limit=2&rate=5")
        assert "会重放 2 个" in page.tested("preview-count")
        assert "符合条件的有 3 个；这一次只重放最老的 2 个" in page.tested("preview-limited")
        assert all(str(task_id) in page.text for task_id in dead[:2])
        assert {await status_of(api, task_id) for task_id in dead} == {"failed"}
        assert await visitor.audit() == []
        page = await visitor.act("/console/dead-letters/replay", selection=selection_in(page))
        assert page.location == "/console/dead-letters"
        assert (await visitor.get(page.location)).tested("notice") == "已重放 2 个任务。"
        assert await visitor.audit() == [("operator", "task.replay", "ok", None)]
    assert [await status_of(api, task_id) for task_id in dead] == ["pending", "pending", "failed"]
    [(detail,)] = await api.rows("select detail from tb_audit where action = 'task.replay'")
    assert (detail["count"], detail["rate"], detail["type"], detail["via"]) == (2, 5.0, "email:send", "console")


AWKWARD = "450 4.2.1 busy\r\n<b>&\"'100%_x  \t再试"


@folded("reason", ["550 5.1.1", AWKWARD, None, "长" * 300])
async def test_one_cause_of_a_type_is_replayed_alone(api: Api, reason: str | None) -> None:
    """别的原因里含着它、以它开头，都不算它。"""
    await api.rows("truncate tb_task, tb_outbox cascade")
    wanted = await failed_mail(api)
    others = [await failed_mail(api) for _ in range(3)]
    neighbour = UUID(int=wanted.int + 1)  # 同一毫秒受理的，也败了
    await api.rows("update tb_task set id = %s where id = %s", neighbour, others[-1])
    others[-1] = neighbour
    said = [reason, f"再次：{reason}", f"{str(reason)[:20]} 之后", "451 4.7.1"]
    for task_id, text in zip((wanted, *others), said, strict=True):
        await api.rows(
            "update tb_task set last_error = jsonb_strip_nulls(jsonb_build_object('reason', %s::text)) where id = %s",
            text,
            task_id,
        )
    async with signed_in(api) as visitor:
        page = await visitor.get("/console/dead-letters")
        links = [html.unescape(link) for link in re.findall(r'href="([^"]+)" data-testid="try-failed"', page.text)]
        assert len(links) == 4
        discarding = re.findall(r'href="([^"]+)" data-testid="discard-failed"', page.text)
        offered = [(await visitor.get(html.unescape(link))).tested("would") for link in discarding]
        assert len(offered) == 4
        assert all("会丢弃" in text for text in offered)
        (alone,) = re.findall(
            r'href="([^"]+)" data-testid="discard"', (await visitor.get(f"/console/tasks/{wanted}")).text
        )
        seen = await visitor.get(html.unescape(alone))
        assert re.findall(r'data-task="([^"]+)"', seen.text) == [str(wanted)]
        assert "会丢弃 1 个" in seen.tested("would")
        shown = [await visitor.get(link.partition("#")[0]) for link in links]
        assert all("会重放 1 个" in page.tested("preview-count") for page in shown)
        [page] = [
            page for page in shown if f"/console/tasks/{wanted}" in page.text.partition('data-testid="preview"')[2]
        ]
        page = await visitor.act("/console/dead-letters/replay", selection=selection_in(page))
        assert page.status == 303
    assert [await status_of(api, task_id) for task_id in (wanted, *others)] == ["pending", *["failed"] * 3]


@folded("status", ["failed", "uncertain"])
async def test_what_was_shown_is_what_runs(api: Api, status: str) -> None:
    """看过之后：又失败的、重来过又失败的、已做成的、被取消的都不算；只有原样还在的才重放。"""
    await api.rows("truncate tb_task, tb_outbox, tb_audit cascade")
    still, again, done, cancelled = [await failed_mail(api, status) for _ in range(4)]
    async with signed_in(api) as visitor:
        page = await visitor.get(f"/console/dead-letters?preview=1&status={status}&one_reason=1&reason=550+5.1.1")
        assert "会重放 4 个" in page.tested("preview-count")
        later = [await failed_mail(api, status) for _ in range(2)]
        older = UUID(int=still.int - 1)  # 比看到的都老，看过之后才失败的
        await api.rows("update tb_task set id = %s where id = %s", older, later[1])
        for task_id in (again, done):
            assert (await visitor.act(f"/console/tasks/{task_id}/retry", back="/")).status == 303
        await fail(api, again, status)
        await api.rows("update tb_task set status = 'succeeded', finished_at = now() where id = %s", done)
        await api.rows("update tb_task set status = 'cancelled', finished_at = now() where id = %s", cancelled)
        page = await visitor.act("/console/dead-letters/replay", selection=selection_in(page))
        said = (await visitor.get(page.location)).tested("notice")
        assert said.startswith("已重放 1 个任务；另有 3 个没有重放")
    ends = [await status_of(api, task_id) for task_id in (still, again, done, cancelled, later[0], older)]
    assert ends == ["pending", status, "succeeded", "cancelled", status, status]
    [(detail,)] = await api.rows(
        "select detail from tb_audit where detail->>'via' = 'console' and action = 'task.replay'"
    )
    assert (detail["count"], detail["skipped"], detail["reason"]) == (1, 3, "550 5.1.1")


async def test_a_full_selection_fits_the_form(api: Api) -> None:
    """一次至多的一千个，都带在确认的表单里。"""
    first = await failed_mail(api)
    await api.rows(
        """
        insert into tb_task (id, type, queue, principal, payload, status, attempt, max_attempts, finished_at)
        select gen_random_uuid(), type, queue, principal, payload, status, attempt, max_attempts, finished_at
        from vw_task cross join generate_series(1, 1010) where id = %s
        """,
        first,
    )
    async with signed_in(api) as visitor:
        page = await visitor.get("/console/dead-letters?preview=1&status=failed&limit=1000")
        assert "符合条件的有 &gt; 1,000 个；这一次只重放最老的 1,000 个" in page.tested("preview-limited")
        page = await visitor.act("/console/dead-letters/replay", selection=selection_in(page))
        assert (await visitor.get(page.location)).tested("notice") == "已重放 1000 个任务。"
    assert await api.rows("select count(*)::int from vw_task where status = 'failed'") == [(11,)]


async def test_a_replay_not_understood_or_of_nothing_that_was_shown_is_refused(api: Api) -> None:
    task_id = await failed_mail(api)
    async with signed_in(api) as visitor:
        for bad in ("limit=0", "limit=1001", "rate=x", "status=pending", "type=nonsense", "since=x"):
            assert (await visitor.get(f"/console/dead-letters?preview=1&{bad}")).status == 400, bad
        for selection in ("", "x", "eJwDAAAAAAE=", "A" * 50_000):
            assert (await visitor.act("/console/dead-letters/replay", selection=selection)).status == 400, selection
        assert (await visitor.act("/console/dead-letters/replay", status="failed")).status == 400
    assert await status_of(api, task_id) == "failed"


async def test_a_schedule_is_switched_and_why_it_was_not_done_is_told_where_one_was_missed(
    environ: dict[str, str],
) -> None:
    async with serving(load_settings({**environ, "KAGUAN_SCHEDULES": SCHEDULES})) as api, signed_in(api) as visitor:
        for word, enabled in (("disable", False), ("enable", True)):
            page = await visitor.act(f"/console/schedules/nightly/{word}")
            assert page.location == "/console/schedules"
            assert await api.rows("select enabled from tb_schedule") == [(enabled,)]
            assert 'data-testid="switch-nightly"' in (await visitor.get("/console/schedules")).text
        assert (await visitor.act("/console/schedules/unknown/enable")).status == 404
        assert await visitor.audit() == [
            ("operator", "schedule.disable", "ok", "nightly"),
            ("operator", "schedule.enable", "ok", "nightly"),
            ("operator", "schedule.enable", "refused", "unknown"),
        ]
        assert "到期时没有 relay" not in (await visitor.get("/console/schedules")).text
        assert (await visitor.act("/console/schedules/nightly/run")).status == 303
        await api.rows("update tb_task set created_at = created_at - interval '3 days'")
        assert "到期时没有 relay" in (await visitor.get("/console/schedules")).text


async def test_what_was_handed_over_long_ago_is_redriven(api: Api) -> None:
    old, fresh = await mail(api), await mail(api)
    await api.rows("delete from tb_outbox")
    await api.rows(HAND, [old, fresh])
    await api.rows("update tb_work set queued_at = now() - interval '5 minutes' where task_id = %s", old)
    async with signed_in(api) as visitor:
        page = await visitor.act("/console/outbox/redrive", older="60")
        assert (await visitor.get(page.location)).tested("notice") == "已重投 1 个任务。"
        assert (await visitor.act("/console/outbox/redrive", older="-1")).status == 400
        assert [entry[1:3] for entry in await visitor.audit()] == [
            ("outbox.redrive", "ok"),
            ("outbox.redrive", "refused"),
        ]
    assert (await status_of(api, old), await status_of(api, fresh)) == ("pending", "queued")
    assert await api.rows("select delivery from tb_outbox") == [(2,)]


async def test_forms_have_a_size_and_a_shape(api: Api) -> None:
    async with signed_in(api) as visitor:
        token = await visitor.csrf()
        home = {"Origin": visitor.origin}
        for data, kind, status in (
            (b"csrf_token=" + token.encode() + b"&x=" + b"a" * 70_000, "application/x-www-form-urlencoded", 413),
            (b"csrf_token=a&csrf_token=b", "application/x-www-form-urlencoded", 400),
            (b"a=%ff", "application/x-www-form-urlencoded", 400),
            (b"\xff\xfe", "application/x-www-form-urlencoded", 400),
            (b"a=%00", "application/x-www-form-urlencoded", 400),
            (b"&".join(b"f%d=1" % n for n in range(100)), "application/x-www-form-urlencoded", 400),
            (b'{"csrf_token": "x"}', "application/json", 415),
        ):
            headers = {**home, "Content-Type": kind}
            async with visitor.session.post("/console/outbox/redrive", data=data, headers=headers) as response:
                assert response.status == status, data[:40]
                assert response.content_type == "text/html"


async def test_actions_over_the_api_are_in_the_same_audit(environ: dict[str, str]) -> None:
    async with serving(load_settings({**environ, "KAGUAN_SCHEDULES": SCHEDULES}), name="robot") as api:
        waiting, dead, other = await mail(api), await failed_mail(api), await failed_mail(api)
        assert (await api.post(f"/tasks/{waiting}/cancel", None)).status == 200
        assert (await api.post(f"/tasks/{dead}/retry", None)).status == 202
        assert (await api.post("/tasks/replay", {"status": "failed"})).data["dry_run"]
        assert (await api.post("/tasks/replay", {"status": "failed", "dry_run": False})).data["replayed"] == 1
        assert (await api.post("/schedules/nightly/disable", None)).status == 200
        assert (await api.post(f"/tasks/{waiting}/cancel", None)).status == 409
        rows = await api.rows("select actor, action, outcome, target, detail ->> 'via' from tb_audit order by id")
        assert rows == [
            ("robot", "task.cancel", "ok", str(waiting), "api"),
            ("robot", "task.retry", "ok", str(dead), "api"),
            ("robot", "task.replay", "ok", None, "api"),
            ("robot", "schedule.disable", "ok", "nightly", "api"),
        ]
        assert await status_of(api, other) == "pending"
