"""真的浏览器，看别的应用的控制台：从终端里的链接进来，每一页在手机上两种语言都看得，按钮按得动。"""

from __future__ import annotations

import re

from playwright.async_api import Page, expect

from api.console import window
from kaguan.config import Settings
from tests.e2e.browser import DESKTOP, PHONE, barriers, chromium, opened, overflow, shoot, tab, untranslated
from tests.e2e.console_pages import shown
from tests.support.window import Shop, looking_into, open_shop


def pages(shop: Shop) -> dict[str, str]:
    samples = {
        "/": {"overview": "/"},
        "/console/tasks": {"tasks": "/console/tasks", "sweep": "/console/tasks?type=card:charge&deed=discard"},
        "/console/tasks/{task_id}": {"task": f"/console/tasks/{shop.charged}"},
        "/console/tasks/{task_id}/stack": {"stack": f"/console/tasks/{shop.running}/stack"},
        "/console/dead-letters": {"dead-letters": "/console/dead-letters?preview=1&status=failed#replay"},
    }
    return shown(window.routes(), samples)


async def test_every_page_of_a_window_reads_well_on_a_phone_and_its_buttons_do_what_they_say(
    settings: Settings, environ: dict[str, str]
) -> None:
    """手机上看英文的：中文的同样的模板，控制台自己的用例看。"""
    async with open_shop(settings, busy=True) as shop, looking_into(environ) as looking, chromium() as browser:
        link = await looking.link()
        url = link.partition("/console/")[0]
        async with tab(browser, url, viewport=PHONE, locale="en-GB") as page:
            await opened(page, "/")
            await expect(page).to_have_url(re.compile("/console/login"))
            await reads_well(page, "window-login")
            await page.goto(link)
            await expect(page).to_have_url(f"{url}/")
            for name, path in pages(shop).items():
                await opened(page, path)
                await expect(page.locator("main h1")).to_be_visible()
                await reads_well(page, f"window-{name}")
            await page.set_viewport_size({"width": DESKTOP["width"], "height": DESKTOP["height"]})
            await buttons_work(page, shop)


async def reads_well(page: Page, name: str) -> None:
    await shoot(page, name)
    assert await overflow(page) == 0, name
    assert await barriers(page) == [], name
    assert await untranslated(page) == [], name


async def buttons_work(page: Page, shop: Shop) -> None:
    """死信再试、等着的取消；看队列；退出。"""
    await page.goto(f"/console/tasks/{shop.lost}")
    await page.get_by_test_id("retry").click()
    await expect(page.get_by_test_id("notice")).to_be_visible()
    await expect(page.get_by_test_id("timeline")).to_contain_text("console:")
    await shop.ended(shop.lost)
    await page.goto(f"/console/tasks/{shop.later}")
    page.once("dialog", lambda dialog: dialog.accept())
    await page.get_by_test_id("cancel").click()
    await expect(page.get_by_test_id("status").locator("[data-status=cancelled]")).to_be_visible()
    await page.get_by_test_id("nav-monitor").click()
    queues = [f"kaguan.shop.{name}" for name in ("critical", "default", "low")]
    await expect(page.frame_locator(".saq").locator("a[href^='/monitor/queues/']")).to_have_text(queues)
    await shoot(page, "window-monitor")
    await opened(page, "/")
    await page.get_by_test_id("logout").click()
    await expect(page.get_by_test_id("lead")).to_be_visible()
    await page.goto("/console/tasks")
    await expect(page).to_have_url(re.compile(r"/console/login\?next="))
