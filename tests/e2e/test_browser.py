"""真的浏览器走控制台的主要路径：登录、总览、任务、死信、计划、发件箱、审计、SAQ 监控页、文档、跟踪。"""

from __future__ import annotations

import json
import os
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import pytest_asyncio
from playwright.async_api import expect

from tests.e2e.browser import PHONE, barriers, opened, overflow, painted, shoot, untranslated
from tests.e2e.site import CARD, FLEET, Site, log_in, running_site
from tests.e2e.stack import RunningStack, kaguan
from tests.e2e.traffic import REFUSED, busy, mail
from tests.support.eventually import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

UNAUTHORIZED = r"status of 401"
ON_A_PHONE = "en-dark-phone"
VARIANTS: dict[str, dict[str, Any]] = {
    # 语言、明暗、宽窄各走两样：它们互不相干
    "zh-light": {},
    ON_A_PHONE: {"locale": "en-GB", "color_scheme": "dark", "viewport": PHONE},
}

SMALL = """[...document.querySelectorAll("a, button, input:not([type=hidden]), select, summary")].filter(one => {
    const {width, height} = one.getBoundingClientRect();
    return width && height < 43.5 && !one.closest(".visually-hidden, .skip, .tick");
}).map(one => one.outerHTML.slice(0, 90))"""
MARKS = {"ok": "✓ ", "warn": "● ", "bad": "▲ ", "unknown": "○ "}
SHOWN = """[document.title, document.querySelector('[data-testid=verdict]').dataset.verdict,
    document.querySelector('link[rel=icon]').getAttribute('href')]"""
WIDE = """[...document.querySelectorAll(".scroll")].filter(one => one.scrollWidth > one.clientWidth + 1)
    .map(one => one.getAttribute("aria-labelledby") || one.getAttribute("aria-label"))"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site() -> AsyncIterator[Site]:
    async with running_site() as running:
        yield running


async def test_the_keyboard_alone_is_enough_to_sign_in_and_a_wrong_token_is_refused(site: Site) -> None:
    async with site.alone(state=None, expected=UNAUTHORIZED) as page:
        await opened(page, "/")
        await expect(page).to_have_url(re.compile(r"/console/login"))
        await painted(page)
        await expect(page.get_by_test_id("token")).to_be_focused()
        await page.keyboard.type("kg_wrong")
        await page.keyboard.press("Enter")
        await expect(page.get_by_test_id("login-error")).to_be_visible()
        assert await barriers(page) == []
        await painted(page)
        await expect(page.get_by_test_id("token")).to_be_focused()
        await page.keyboard.type(site.stack.token)
        await page.keyboard.press("Tab")
        await expect(page.get_by_test_id("login-submit")).to_be_focused()
        await page.keyboard.press("Enter")
        await expect(page.get_by_test_id("page-overview")).to_be_visible()
        (session,) = [cookie for cookie in await page.context.cookies() if "session" in cookie.get("name", "")]
        assert session.get("httpOnly")
        assert session.get("sameSite") == "Strict"
        assert site.stack.token not in await page.content()
        await painted(page)
        await page.keyboard.press("Tab")
        await expect(page.locator(".skip")).to_be_focused()


async def test_the_overview_follows_the_pipeline_without_a_reload(site: Site) -> None:
    async with site.open() as page:
        await opened(page, "/")
        dead = page.get_by_test_id("dead")
        before = int(await dead.inner_text())
        await page.evaluate("window.notReloaded = true")
        failed = mail(site.stack, REFUSED)
        await expect(dead).to_have_text(str(before + 1))
        assert await page.evaluate("window.notReloaded")
        refused = page.locator('[data-fault="attempt_failed"]').first
        await expect(refused).to_be_visible()
        if await refused.get_by_test_id("fault-tasks").count():  # 同一个原因的合成一行，指到它们全部
            await refused.get_by_test_id("fault-tasks").click()
            await expect(page.get_by_test_id("tasks")).to_contain_text(failed[-6:])
        await shoot(page, "overview-live")


async def test_a_tab_in_the_background_says_the_verdict(site: Site) -> None:
    """标题与图标跟着判断，后台也跟；断了，不再说旧的。"""
    async with site.alone(expected=re.compile("live/overview|Failed to load")) as page:
        await page.clock.install()
        await opened(page, "/")
        icon = page.locator('link[rel="icon"]')

        async def agree() -> bool:
            title, level, href = await page.evaluate(SHOWN)
            return title.startswith(MARKS[level]) and f"icon-{level}.svg" in href

        await eventually(agree)  # 三样一次读：刷新也许正来
        await page.evaluate("Object.defineProperty(document, 'hidden', {get: () => true})")
        await page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
        await page.route("**/console/live/overview", lambda route: route.abort())
        await page.clock.fast_forward(20_000)
        await expect(page).to_have_title(re.compile("^○ 看不见 · 总览"))
        await expect(icon).to_have_attribute("href", re.compile("icon-unknown[.]svg"))
        await page.unroute("**/console/live/overview")
        await page.clock.fast_forward(20_000)
        await expect(page).to_have_title(re.compile("^[✓●▲] "))


async def test_tasks_are_found_by_filters_and_by_id(site: Site) -> None:
    async with site.open() as page:
        await opened(page, "/")
        await page.get_by_test_id("nav-tasks").click()
        await expect(page).to_have_url(re.compile("/console/tasks"))
        rows = page.get_by_test_id("tasks").locator("tbody tr")

        async def listed() -> bool:  # 换了页，不等于读完了
            return await rows.count() >= len(site.tasks)

        await eventually(listed)
        await page.get_by_test_id("filter-status").select_option("failed")
        await page.get_by_test_id("filter-apply").click()
        await expect(page).to_have_url(re.compile("status=failed"))

        async def only_failed() -> bool:
            statuses = await rows.locator("[data-status]").evaluate_all("all => all.map(one => one.dataset.status)")
            return set(statuses) == {"failed"}

        await eventually(only_failed)
        await rows.first.get_by_role("link").first.click()
        await page.get_by_test_id("copy").click()
        await expect(page.get_by_test_id("copy")).to_have_text("已复制")
        await page.locator("[data-crumb]").click()
        await expect(page).to_have_url(re.compile("status=failed"))
        wanted = site.task("uncertain")
        await page.goto("/console/tasks")
        await painted(page)
        await page.keyboard.press("/")
        await page.keyboard.type(wanted)
        await page.keyboard.press("Enter")
        await expect(page.get_by_test_id("status").locator("[data-status=uncertain]")).to_be_visible()
        note = page.get_by_test_id("resolve").locator("[name=note]")
        await note.fill("queued as 4XkQ2")  # 写到一半去看别处：刷新不丢
        await note.evaluate("node => { node.blur(); node.dataset.before = 1; }")
        await expect(page.locator("[data-before]")).to_have_count(0)
        await expect(note).to_have_value("queued as 4XkQ2")


async def test_a_card_is_found_on_a_phone_by_the_end_of_its_number_and_refreshed(site: Site) -> None:
    async with site.open(**VARIANTS[ON_A_PHONE]) as page:
        await page.goto("/console/audit")  # 靠右的那一个
        await expect(page.locator("nav [aria-current]")).to_be_in_viewport(ratio=1)
        await page.goto("/console/sims")
        await painted(page)
        await page.keyboard.press("/")
        await page.keyboard.type(f"{CARD[-8:]}, 999999")
        await page.get_by_test_id("filter-apply").click()
        await expect(page.get_by_test_id("missing")).to_contain_text("999999")
        await page.get_by_test_id("sims").get_by_role("link", name=CARD).click()
        await expect(page.get_by_test_id("profiles")).to_be_visible()
        await page.get_by_test_id("refresh").click()
        await expect(page.get_by_test_id("notice")).to_be_visible()
        await expect(page.get_by_test_id("sim-tasks").locator("[data-status=succeeded]")).to_be_visible()


async def test_the_filters_of_the_tasks_leave_room_for_the_list_on_a_phone_and_name_what_is_set(site: Site) -> None:
    async with site.open(**VARIANTS[ON_A_PHONE]) as page:
        await page.goto("/console/tasks")
        box = await page.get_by_test_id("tasks").bounding_box()
        assert box is not None
        assert box["y"] < PHONE["height"] * 2 / 3
        await page.goto("/console/tasks?caller=dev&queue=default")
        folded = page.get_by_test_id("more")
        await expect(folded.locator("summary")).to_contain_text("Queue default · Caller dev")
        await expect(page.get_by_test_id("filter-caller")).to_be_hidden()
        await folded.locator("summary").click()
        await page.get_by_test_id("filter-caller").fill("nobody")
        await page.get_by_test_id("filter-apply").click()
        await expect(page).to_have_url(re.compile("caller=nobody"))
        await expect(page.get_by_test_id("no-tasks")).to_be_visible()


async def test_who_holds_what_is_one_line_while_nobody_does(site: Site) -> None:
    async with site.open() as page:
        await page.goto("/console/holders")
        await expect(page.get_by_test_id("nobody")).to_be_visible()
        await expect(page.locator("main table")).to_have_count(0)


async def test_a_fleet_of_cards_is_suspended_three_refused_one_doubt_decided_and_the_receipts_kept(
    site: Site,
) -> None:
    async with site.open() as page:
        await page.goto("/console/sims?group=fleet&carrier=onelink")
        await expect(page.get_by_test_id("total")).to_contain_text(str(FLEET + 3))
        await page.get_by_test_id("change-what").select_option("suspend")
        await page.get_by_test_id("change-all").click()
        await expect(page.get_by_test_id("count-changing")).to_have_text(str(FLEET))
        await expect(page.get_by_test_id("refused").locator("tbody tr")).to_have_count(3)
        await expect(page.get_by_test_id("refused")).to_contain_text("停机")
        assert await barriers(page) == []
        await shoot(page, "change-preview")
        await page.get_by_test_id("reason").fill("客户欠费")
        await page.get_by_test_id("change-confirm").click()
        await expect(page).to_have_url(re.compile(r"/console/sims/changes/\d+$"))
        await expect(page.get_by_test_id("count-pending")).to_have_text("0")
        await expect(page.get_by_test_id("count-succeeded")).to_have_text(str(FLEET))
        await doubt(site.stack)
        await page.reload()
        form = page.get_by_test_id("doubts").locator("form")
        await form.locator("[name=note]").fill("运营商的单子上有")
        assert await barriers(page) == []
        await shoot(page, "change-doubt")
        await form.get_by_test_id("happened").click()
        await expect(page.get_by_test_id("count-uncertain")).to_have_text("0")
        async with page.expect_download() as saving:
            await page.get_by_test_id("export-receipts").click()
        lines = lines_of(await (await saving.value).path())
        assert len(lines) == FLEET + 1
        assert sum(",succeeded," in line for line in lines) == FLEET


def lines_of(file: Path) -> list[str]:
    return file.read_text("utf-8-sig").splitlines()


async def doubt(stack: RunningStack) -> None:
    """刚才的一张，结局成了不明的。"""
    async with await psycopg.AsyncConnection.connect(stack.env["KAGUAN_DATABASE__URL"], autocommit=True) as connection:
        await connection.execute(
            "update tb_task set status = 'uncertain', finished_at = null"
            " where id = (select id from tb_task where type = 'sim:change' and status = 'succeeded'"
            " order by id desc limit 1)"
        )


async def test_a_task_shows_its_timeline_and_its_trace_and_leads_to_the_trace_view(site: Site) -> None:
    async with site.open() as page:
        await page.goto(f"/console/tasks/{site.task('succeeded')}")
        await expect(page.get_by_test_id("timeline")).to_be_visible()
        await expect(page.get_by_test_id("attempts").locator("tbody tr")).to_have_count(1)
        waterfall = page.get_by_test_id("waterfall")
        await expect(waterfall).to_contain_text("process ")
        await shoot(page, "task")
        async with page.expect_popup() as opening:
            await page.get_by_test_id("trace-link").click()
        view = await opening.value
        await expect(view.locator("h1")).to_contain_text("POST /api/v1/tasks")
        await shoot(view, "trace")


async def test_dead_letters_are_tried_dry_then_replayed_and_the_audit_says_who(site: Site) -> None:
    failed = site.task("failed")
    async with site.open() as page:
        await page.goto("/console/dead-letters")
        form = page.get_by_test_id("replay-form")
        await form.locator("[name=status]").select_option("failed")
        await form.locator("[name=limit]").fill("1")
        await page.get_by_test_id("dry-run").click()
        await expect(page.get_by_test_id("preview-count")).to_contain_text("1")
        assert site.stack.request("GET", f"/api/v1/tasks/{failed}")[1]["data"]["status"] == "failed"
        await page.get_by_test_id("replay-confirm").click()
        await expect(page.get_by_test_id("notice")).to_contain_text("1")
        await page.get_by_test_id("nav-audit").click()
        await expect(page.locator("[data-action='task.replay'][data-outcome=ok]").first).to_be_visible()
        await expect(page.locator("[data-action='console.login'][data-outcome=refused]").first).to_be_visible()
        await expect(page.get_by_test_id("audit")).not_to_contain_text("kg_")


async def test_a_schedule_is_switched_off_and_on_again(site: Site) -> None:
    async with site.open() as page:
        await page.goto("/console/schedules")
        row = page.locator("[data-schedule]").first
        name = await row.get_attribute("data-schedule")
        for pressed in (False, True):
            await page.get_by_test_id(f"switch-{name}").click()
            await expect(page.get_by_test_id("notice")).to_be_visible()
            await expect(row.locator(".s-succeeded")).to_have_count(int(pressed))


async def test_redrive_asks_first(site: Site) -> None:
    deeds = "[data-action='outbox.redrive']"
    async with site.open() as page:
        await opened(page, "/console/outbox")
        page.once("dialog", lambda dialog: dialog.dismiss())
        await page.get_by_test_id("redrive").click()
        await page.goto("/console/audit")
        await expect(page.locator(deeds)).to_have_count(0)
        await opened(page, "/console/outbox")
        page.once("dialog", lambda dialog: dialog.accept())
        await page.get_by_test_id("redrive").click()
        await expect(page.get_by_test_id("notice")).to_be_visible()
        await page.goto("/console/audit")
        await expect(page.locator(deeds)).to_have_count(1)


async def test_the_saq_dashboard_opens_with_the_same_login(site: Site) -> None:
    async with site.open() as page:
        await opened(page, "/")
        await page.get_by_test_id("nav-monitor").click()
        frame = page.frame_locator(".saq")  # 嵌在我们的里，导航还在
        links = frame.locator("a[href^='/monitor/queues/']")
        await expect(links).to_have_text(["critical", "default", "low"])
        await shoot(page, "monitor")
        await page.set_viewport_size({"width": PHONE["width"], "height": PHONE["height"]})
        wider = "page => page.scrollWidth - page.clientWidth"
        assert await frame.locator("html").evaluate(wider) == 0
        await links.first.click()
        await expect(frame.get_by_role("columnheader", name="Active").first).to_be_visible()
        assert await frame.locator("html").evaluate(wider) == 0
        await page.get_by_test_id("nav-overview").click()
        await expect(page.get_by_test_id("page-overview")).to_be_visible()


async def test_a_reader_sees_everything_and_is_offered_nothing_to_press(site: Site) -> None:
    made = kaguan(
        "token", "create", "--name", "reader", "--scopes", "ops:read,sims:read", "--json", data=site.stack.data
    )
    token = json.loads(made.stdout)["token"]
    async with site.alone(state=None) as page:
        await log_in(page, token)
        for path in site.pages().values():
            answer = await opened(page, path)
            assert answer.status == 200, path
            assert await page.locator("main form[method=post]").count() == 0, path


async def test_signing_out_ends_the_session_everywhere(site: Site) -> None:
    async with site.alone(state=None) as page:
        await log_in(page, site.stack.token)
        kept = await page.context.storage_state()
        await page.get_by_test_id("logout").click()
        await expect(page.get_by_test_id("login-form")).to_be_visible()
    async with site.alone(state=kept) as page:
        await page.goto("/console/tasks")
        await expect(page).to_have_url(re.compile(r"/console/login\?next="))


async def test_the_language_switch_is_remembered(site: Site) -> None:
    async with site.alone() as page:
        await page.goto("/console/tasks")
        await page.get_by_test_id("language-en").click()
        await expect(page.locator("html")).to_have_attribute("lang", "en")
        await opened(page, "/")
        await expect(page.locator("html")).to_have_attribute("lang", "en")
        await page.get_by_test_id("theme-dark").click()
        await expect(page.locator("html")).to_have_attribute("data-theme", "dark")


async def test_the_console_works_without_scripts(site: Site) -> None:
    async with site.alone(state=None, java_script_enabled=False) as page:
        await log_in(page, site.stack.token)
        await page.get_by_test_id("nav-tasks").click()
        await page.get_by_test_id("filter-status").select_option("uncertain")
        await page.get_by_test_id("filter-apply").click()
        await page.get_by_test_id("tasks").get_by_role("link").first.click()
        await expect(page.get_by_test_id("status").locator("[data-status=uncertain]")).to_be_visible()


@pytest.mark.parametrize("variant", VARIANTS)
async def test_every_page_is_accessible_translated_and_fits(site: Site, variant: str) -> None:
    """手机上：没有一张表要横着拖，控制台里点得到的都有 44 像素高。跟踪的网页也看。"""
    english = variant == ON_A_PHONE
    async with site.open(**VARIANTS[variant]) as page:
        for name, path in {**site.pages(), "docs": "/docs"}.items():
            await opened(page, path)
            await expect(page.locator("h1").first).to_be_visible()
            await shoot(page, f"{name}-{variant}")
            assert (english and name == "docs") or await barriers(page) == [], name  # 英文的由下一个用例看
            assert await overflow(page) <= 0, name
            assert await page.evaluate(WIDE) == [], name
            if english:
                assert name == "docs" or await page.evaluate(SMALL) == [], name
                assert await untranslated(page) == [], name
        if not english:
            await page.set_viewport_size({"width": PHONE["width"], "height": PHONE["height"]})
            for name, path in site.pages().items():
                await opened(page, path)
                assert await overflow(page) <= 0, name
                assert await page.evaluate(WIDE) == [], name
                assert await page.evaluate(SMALL) == [], name
        await page.goto(f"{site.trace_view}/?task={site.task('succeeded')}")
        assert await barriers(page) == []
        assert not english or await untranslated(page) == []
        await page.get_by_role("link", name="POST /api/v1/tasks").first.click()
        await page.locator("summary").first.click()
        assert await barriers(page) == []


async def test_the_reference_is_searched_linked_copied_and_tried_on_a_phone(site: Site) -> None:
    async with site.open(**VARIANTS[ON_A_PHONE]) as page:
        await page.goto("/docs#list_tasks")
        task_list = page.locator("#list_tasks")
        await expect(task_list.locator(".curl")).to_contain_text("/api/v1/tasks'")
        assert await barriers(page) == []
        assert await overflow(page) <= 0
        await page.locator("#token").fill(site.stack.token)
        await task_list.get_by_label("status", exact=True).fill("failed")
        await expect(task_list.locator(".curl")).to_contain_text("/api/v1/tasks?status=failed'")
        await task_list.get_by_role("button", name="Try it").click()
        await expect(task_list.get_by_label("The answer")).to_contain_text('"status": "failed"')
        await page.locator("#search").fill("openapi.json")
        await expect(page.locator("#operations details:visible")).to_have_count(1)
        await shoot(page, "docs-phone")
        await page.locator("#back").click()
        await expect(page.get_by_test_id("page-overview")).to_be_visible()


@pytest.mark.skipif("KAGUAN_SCREENSHOTS" not in os.environ, reason="只有图，没有断言之外的事：make prove P=screenshots")
async def test_pictures_for_the_readme(site: Site) -> None:
    retried = next(
        task_id
        for task_id, status in site.tasks.items()
        if status == "succeeded" and site.stack.request("GET", f"/api/v1/tasks/{task_id}")[1]["data"]["attempts"] == 2
    )
    busy(site.stack)
    sharp: dict[str, Any] = {"viewport": {"width": 1280, "height": 800}, "device_scale_factor": 1.5}
    async with site.open(**sharp) as page:
        await opened(page, "/")
        await expect(page.get_by_test_id("rate-succeeded")).not_to_have_text("0.0")
        await shoot(page, "readme-overview", whole=False)
    async with site.open(**sharp, locale="en-GB", color_scheme="dark") as page:
        await page.goto(f"/console/tasks/{retried}")
        await expect(page.get_by_test_id("waterfall")).to_contain_text("process ")
        height = await page.evaluate("document.documentElement.scrollHeight")
        await page.set_viewport_size({"width": 1280, "height": height})  # 侧栏贴着视口，一屏才照得全
        await shoot(page, "readme-task", whole=False)
