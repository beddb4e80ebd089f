"""浏览器测试的探子自己也会响：每种毛病都真造一个，看它报不报。"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import pytest_asyncio
from aiohttp import web
from playwright.async_api import Browser

from tests.e2e.browser import PHONE, barriers, chromium, overflow, tab, untranslated

pytestmark = [pytest.mark.rigs, pytest.mark.asyncio(loop_scope="module")]

STRICT = {"Content-Security-Policy": "default-src 'self'; img-src * data:"}
GOOD = "<html lang=en><title>ok</title><link rel=icon href='data:,'><main><h1>Fine</h1></main>"
FAULTY = {
    "控制台": "<script>1</script>",  # CSP 不许内联脚本
    "去了别的站点": "<img alt='' src='http://localhost:1/pixel.png'>",
    "status of 404": "<script src=/nothing.js></script>",
    "status of 503": "<script src=/console/assets/away.js></script>",
    "脚本出错": "<script src=/throws.js></script>",
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as running:
        yield running


@asynccontextmanager
async def serving(body: str) -> AsyncIterator[str]:
    """只有一页的站点，带严格的 CSP。"""

    async def page(_request: web.Request) -> web.Response:
        return web.Response(text=body, content_type="text/html", headers=STRICT)

    async def throws(_request: web.Request) -> web.Response:
        return web.Response(text="throw new Error('planted')", content_type="text/javascript")

    async def away(_request: web.Request) -> web.Response:
        return web.Response(status=503)

    application = web.Application()
    application.add_routes([web.get("/", page), web.get("/throws.js", throws), web.get("/console/{_:.+}", away)])
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    try:
        yield f"http://{host}:{port}"
    finally:
        await runner.cleanup()


async def test_a_good_page_passes(browser: Browser) -> None:
    async with serving(GOOD) as url, tab(browser, url) as page:
        await page.goto("/")
        assert await barriers(page) == []
        assert await overflow(page) == 0
        assert await untranslated(page) == []


@pytest.mark.parametrize("fault", FAULTY)
async def test_a_fault_of_the_page_is_reported(browser: Browser, fault: str) -> None:
    async with serving(GOOD + FAULTY[fault]) as url:
        with pytest.raises(AssertionError, match=fault):
            async with tab(browser, url) as page:
                await page.goto("/")


async def test_a_fault_that_a_case_provokes_is_let_pass(browser: Browser) -> None:
    async with serving(GOOD + FAULTY["status of 404"]) as url, tab(browser, url, expected="status of 404") as page:
        await page.goto("/")


async def test_a_live_part_that_is_late_is_let_pass(browser: Browser) -> None:
    """忙的机器上它一时没有问到库，页面自己说，不是毛病。"""
    async with serving(GOOD + "<script src=/console/live/late></script>") as url, tab(browser, url) as page:
        await page.goto("/")


async def test_barriers_overflow_and_leftover_chinese_are_seen(browser: Browser) -> None:
    bad = "<button></button><h2>总览</h2><div style='width: 900px'>wide</div>"
    async with (
        serving(GOOD + bad) as url,
        tab(browser, url, expected="Content Security Policy", viewport=PHONE) as page,
    ):
        await page.goto("/")
        await page.evaluate("document.querySelector('div').style.width = '900px'")
        assert any("button-name" in barrier for barrier in await barriers(page))
        assert await overflow(page) > 0
        assert await untranslated(page) == ["总览"]
