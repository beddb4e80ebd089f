"""故障来了，开着的那一页自己说出来：说中缘由，不闪，恢复之后收回；数据旧了就变灰、写明时刻。"""

from __future__ import annotations

import asyncio
import re
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, StorageState, expect

from tests.drill.night import play
from tests.drill.nights import NIGHTS
from tests.drill.relay_host import MailRelay, mail_relay
from tests.drill.scoring import flaps
from tests.drill.stage import busy, family, send_tree
from tests.e2e.browser import PHONE, barriers, calm, chromium, opened, overflow, shoot, tab, untranslated
from tests.e2e.site import log_in
from tests.e2e.stack import RunningStack, kaguan, started
from tests.e2e.traffic import mail
from tests.support.eventually import eventually
from tests.support.places import temporary_place

pytestmark = pytest.mark.asyncio(loop_scope="module")

OUTAGE = r"status of 50[34]|ERR_CONNECTION|ERR_TIMED_OUT|请求失败"
EXTRA = {"KAGUAN_TASKS__BACKOFF_BASE": "1", "KAGUAN_TASKS__BACKOFF_CAP": "2", "KAGUAN_API__LOGIN_PER_MINUTE": "100"}
UNFINISHED = "pending,queued,running,retrying"
# 每次刷新之后的轻重，一次变化记一个；忙的机器上半秒没有问到 Redis 或库，照实说，不算
WATCH = """
window.levels = ["ok"];
new MutationObserver(() => {
  if (document.querySelector("[data-concern=redis], [data-concern=database]")) return;
  const level = document.querySelector("[data-verdict]")?.dataset.verdict;
  if (level && level !== window.levels.at(-1)) window.levels.push(level);
}).observe(document.querySelector("[data-live]"), { childList: true, subtree: true, attributes: true });
"""


@dataclass(frozen=True, slots=True)
class Scene:
    stack: RunningStack
    relay: MailRelay
    browser: Browser
    state: StorageState

    @asynccontextmanager
    async def overview(self, **context: Any) -> AsyncIterator[Page]:
        """总览开着，看着它的轻重。"""
        async with tab(self.browser, self.stack.url, state=self.state, expected=OUTAGE, **context) as page:
            await opened(page, "/")
            await calm(page)
            await page.evaluate(WATCH)
            yield page

    async def at_rest(self) -> None:
        """交了的都有了结局；结局不明的由人定了：它不会自己过去，下一个用例就等不到没事。"""

        async def found(statuses: str) -> list[dict[str, Any]]:
            _, answer = await asyncio.to_thread(self.stack.request, "GET", f"/api/v1/tasks?status={statuses}")
            tasks: list[dict[str, Any]] = answer["data"]["items"]
            return tasks

        async def ended() -> bool:
            return not await found(UNFINISHED)

        await eventually(ended)
        for task in await found("uncertain"):
            known = {"outcome": "happened", "note": "下一个用例"}
            assert self.stack.request("POST", f"/api/v1/tasks/{task['task_id']}/resolve", known)[0] == 200

    async def doctor_says(self, code: int, *words: str) -> None:
        """它看的是自己那一刻：忙的机器上一时没有问到的，再问。"""

        async def said() -> bool:
            done = await asyncio.to_thread(kaguan, "doctor", data=self.stack.data)  # 它要问的邮件中继就在本进程里
            return done.returncode == code and all(word in done.stdout for word in words)

        await eventually(said)

    async def health(self) -> tuple[int, str, list[str]] | None:
        """没有在时限之内答的，没有判断：空的。"""
        status, answer = await asyncio.to_thread(self.stack.request, "GET", "/health")
        verdict = ((answer or {}).get("data") or {}).get("verdict")
        return verdict and (status, verdict["level"], [concern["code"] for concern in verdict["concerns"]])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene() -> AsyncIterator[Scene]:
    async with mail_relay() as relay, chromium() as browser:
        extra = {**EXTRA, "KAGUAN_SMTP__URL": relay.url}
        with temporary_place("e2e") as home:
            async with started(home / "data", home / "log", extra=extra) as stack:
                async with tab(browser, stack.url) as page:
                    await log_in(page, stack.token)
                    state = await page.context.storage_state()
                yield Scene(stack, relay, browser, state)


async def test_a_frozen_worker_is_told_by_all_three_and_taken_back_when_it_moves_again(scene: Scene) -> None:
    worker = scene.stack.pid("worker")
    async with scene.overview() as page:
        scene.stack.send("worker", signal.SIGSTOP)
        try:
            mail(scene.stack)
            cause = page.locator("[data-concern=quiet]")
            await expect(cause).to_be_visible()
            await expect(cause).to_contain_text(str(worker))
            await expect(cause.locator("[data-concern=stalled]")).to_be_attached()  # 后果收在根由下面
            await expect(page.locator("[data-verdict=bad]")).to_be_visible()
            assert await barriers(page) == []
            await shoot(page, "verdict-worker-frozen")
            await scene.doctor_says(3, "只进不出", "没有心跳")
        finally:
            scene.stack.send("worker", signal.SIGCONT)
        await calm(page)
        assert flaps(await known_levels(page)) == 0
        await scene.doctor_says(0)


async def test_mail_that_cannot_be_sent_is_told_with_its_reason(scene: Scene) -> None:
    async with scene.overview(locale="en-GB", color_scheme="dark", viewport=PHONE) as page:
        await scene.at_rest()  # 正寄到一半的，停了就说不清
        await scene.relay.stop()
        try:
            for _ in range(8):
                mail(scene.stack)
            told = page.locator("[data-concern=breaker]")
            await expect(told).to_be_visible()
            await expect(told).to_contain_text("cannot connect to the relay host")
            await expect(page.locator("[data-verdict=bad]")).to_be_visible()
            assert await overflow(page) == 0
            assert await untranslated(page) == []
            assert await barriers(page) == []
            await shoot(page, "verdict-mail-down-en-dark-phone")
        finally:
            await scene.relay.start()
        await calm(page)
        assert flaps(await known_levels(page)) == 0


async def test_without_postgresql_the_banner_turns_grey_dated_and_names_it(scene: Scene) -> None:
    async with scene.overview() as page:
        await scene.at_rest()  # 结算到一半的，停得久了就说不清
        stopped = family(scene.stack.pid("postgres"))
        send_tree(stopped, signal.SIGSTOP)
        try:
            banner = page.get_by_test_id("verdict")
            await expect(banner).to_have_attribute("data-verdict", "unknown")
            await expect(banner).to_contain_text(re.compile(r"截至 \d\d:\d\d:\d\d 的数据；PostgreSQL 没有应答"))
            await expect(page.locator("[data-live-text]")).to_contain_text("PostgreSQL")
            assert await barriers(page) == []
            await shoot(page, "verdict-postgres-away")

            async def only_the_database_is_away() -> bool:
                return await scene.health() == (503, "unknown", ["database"])

            await eventually(only_the_database_is_away)
            other = await page.context.new_page()
            await other.goto("/")
            await expect(other.get_by_test_id("away")).to_contain_text("PostgreSQL")
            await shoot(other, "verdict-postgres-away-error")
            await other.close()
        finally:
            send_tree(stopped, signal.SIGCONT)
        await calm(page)
        assert flaps(await page.evaluate("window.levels")) == 0


async def test_on_a_phone_the_console_names_both_causes_and_three_taps_do_what_helps(scene: Scene) -> None:
    """夜里的短形；长的那场是 ``make prove P=night``。"""
    try:
        async with busy(scene.stack, scene.relay) as stage:
            night = NIGHTS["two_outages"]
            night = replace(night, also=night.also | {"redis", "database"})  # 一时没有问到的，不是冤枉
            played = await play(night, "手机", stage, scene.browser)
        assert played.deeds
        assert played.passed, played
    finally:
        for held in scene.stack.request("GET", "/api/v1/pauses")[1]["data"]["items"]:
            assert scene.stack.request("DELETE", f"/api/v1/pauses/{held['id']}")[0] == 200
        await scene.at_rest()


async def test_a_relay_that_keeps_dying_is_a_crash_loop_and_the_banner_does_not_blink(scene: Scene) -> None:
    async with scene.overview(locale="en-GB") as page:
        for _ in range(4):
            pid = scene.stack.pid("relay")
            scene.stack.send("relay", signal.SIGKILL)
            await scene.stack.replaced("relay", pid)
            await expect(page.get_by_test_id("processes")).to_contain_text(f":{scene.stack.pid('relay')}")
        told = page.locator("[data-concern=restarts].bad")
        await expect(told).to_be_visible()
        await expect(told).to_contain_text("crash loop")
        await expect(page.get_by_test_id("processes")).to_contain_text("relay")
        await shoot(page, "verdict-crash-loop-en")
        assert flaps(await known_levels(page)) == 0


async def known_levels(page: Page) -> list[str]:
    """不知道的不算：忙的机器上库一时不答，如实变灰。"""
    levels: list[str] = await page.evaluate("window.levels")
    known = [level for level in levels if level != "unknown"]
    return [level for number, level in enumerate(known) if not number or level != known[number - 1]]
