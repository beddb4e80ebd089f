"""一个真的 Chromium（Debian 的，由 Playwright 驱动），盯着每一页：控制台报错、CSP 拦截、请求失败、外站请求都算毛病。"""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from axe_playwright_python.async_playwright import Axe
from playwright.async_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    Request,
    Response,
    StorageState,
    WebError,
    async_playwright,
    expect,
)

from tests.support.artifacts import place
from tests.support.eventually import PATIENCE, eventually
from tests.support.installed import program

# 没有外网也不去找；root 下没有沙箱
FLAGS = (
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
DESKTOP = {"width": 1280, "height": 860}
PHONE = {"width": 390, "height": 844}
GRAVE = {"serious", "critical"}
PRESSED = ["clipboard-write"]  # 有界面的，按一下就许；没有界面的要先许
HAN = re.compile(r"[\u4e00-\u9fff]")
AWAY = {503, 504}
# 忙的机器上一时没有问到库：页面自己说，下一次刷新又好了；见 test_verdict.py
LATE = re.compile(r"status of 50[34].*（\w+://[^/]+/(health|console/(?!assets/)[^？）?]*)?(\?[^）]*)?）")


@dataclass  # 没有 slots：Playwright 往处理者身上记东西
class Watch:
    """一个浏览器身份里（弹出的标签页也算）出过的毛病。"""

    origins: tuple[str, ...]
    expected: re.Pattern[str] | None = None
    faults: list[str] = field(default_factory=list)

    def over(self, context: BrowserContext) -> None:
        context.set_default_timeout(PATIENCE * 1000)
        context.on("console", self._said)
        context.on("weberror", self._threw)
        context.on("requestfailed", self._failed)
        context.on("request", self._asked)

    def _threw(self, error: WebError) -> None:
        self._note(f"脚本出错：{error.error}")

    def _note(self, fault: str) -> None:
        if not any(pattern.search(fault) for pattern in (LATE, self.expected) if pattern is not None):
            self.faults.append(fault)

    def _said(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self._note(f"控制台：{message.text}（{message.location.get('url')}）")

    def _failed(self, request: Request) -> None:
        # 翻页时浏览器自己掐掉在途的请求，不是毛病
        if request.failure != "net::ERR_ABORTED":
            self._note(f"请求失败：{request.method} {request.url} {request.failure}")

    def _asked(self, request: Request) -> None:
        if not request.url.startswith((*self.origins, "data:", "blob:")):
            self._note(f"去了别的站点：{request.url}")


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """系统里的 Chromium，没有界面的那种开一页、翻一页只要一半的处理器；Playwright 自己的浏览器不下载。"""
    executable = program("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", since=(120,))
    expect.set_options(timeout=PATIENCE * 1000)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=executable, args=list(FLAGS), timeout=PATIENCE * 1000
        )
        try:
            yield browser
        finally:
            await browser.close()


@dataclass(frozen=True, slots=True)
class Identity:
    """一个浏览器身份，盯着它的每一页。"""

    context: BrowserContext
    watch: Watch

    @asynccontextmanager
    async def page(self) -> AsyncIterator[Page]:
        """开一个新的标签页；离开时要求一路没有毛病，开着的都关上。"""
        self.watch.faults.clear()
        try:
            yield await self.context.new_page()
            assert not self.watch.faults, "\n".join(self.watch.faults)
        finally:
            for page in self.context.pages:
                await page.close()


async def identity(
    browser: Browser, url: str, *, also: tuple[str, ...] = (), expected: str | None = None, **context: Any
) -> Identity:
    """参数见 :func:`tab`。"""
    options = {"viewport": DESKTOP, "locale": "zh-CN", "reduced_motion": "reduce", "permissions": PRESSED} | context
    watch = Watch((url, *also), re.compile(expected) if expected else None)
    opened = await browser.new_context(base_url=url, **options)
    watch.over(opened)
    return Identity(opened, watch)


@asynccontextmanager
async def tab(
    browser: Browser,
    url: str,
    *,
    state: StorageState | None = None,
    also: tuple[str, ...] = (),
    expected: str | None = None,
    **context: Any,
) -> AsyncIterator[Page]:
    """开一个新的浏览器身份与标签页；离开时要求一路没有毛病。

    Args:
        browser: 浏览器。
        url: 本站地址；相对地址以它为准。
        state: 带着已登录的 cookie。
        also: 还可以去的站点（跟踪查看器）。
        expected: 这些毛病是用例有意引来的（正则）。
        context: 语言、明暗、视口等，见 Playwright 的 ``new_context``。
    """
    opened = await identity(browser, url, also=also, expected=expected, storage_state=state, **context)
    try:
        async with opened.page() as page:
            yield page
    finally:
        await opened.context.close()


async def opened(page: Page, path: str) -> Response:
    """打开一页；它说此刻没有问到库的，再开：人也是再按一次刷新。"""

    async def answered() -> Response | None:
        answer = await page.goto(path)
        return None if answer is None or answer.status in AWAY else answer

    found = await eventually(answered)
    assert found is not None
    return found


async def calm(page: Page) -> None:
    """横幅说没事；等不到就说还有哪几件：整页的树一屏装不下。"""
    try:
        await expect(page.locator("[data-verdict=ok]")).to_be_visible()
    except AssertionError as error:
        left = await page.locator("[data-concern]").evaluate_all("all => all.map(one => one.dataset.concern)")
        raise AssertionError(f"还有要人留意的：{left}") from error


async def barriers(page: Page) -> list[str]:
    """axe 查出的严重以上的无障碍问题：规则与第一处位置。"""
    results = await Axe().run(page, options={"resultTypes": ["violations"]})
    return [
        f"{found['id']}（{found['impact']}）{found['help']}：{[node['target'] for node in found['nodes']][:3]}"
        for found in results.response["violations"]
        if found["impact"] in GRAVE
    ]


async def painted(page: Page) -> None:
    """画出来了：刚换过页的，画出第一笔之前按的键浏览器不理。"""
    await eventually(lambda: page.evaluate("performance.getEntriesByName('first-contentful-paint').length"))


async def overflow(page: Page) -> int:
    """页面比视口宽出多少像素。"""
    wider: int = await page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    return wider


async def untranslated(page: Page) -> list[str]:
    """英文界面里仍含汉字的标题、表头、标签、按钮、导航与原因；语言按钮自己除外。"""
    texts: list[str] = await page.locator(
        "title, h1, h2, th[scope=col], label > span, nav a, caption, button:not([lang]), .empty, .note, .help, "
        "td.reason, .error, .why, [data-reason]"
    ).all_text_contents()
    return [text.strip() for text in texts if HAN.search(text)]


async def shoot(page: Page, name: str, *, whole: bool = True) -> None:
    """``KAGUAN_SCREENSHOTS`` 设了，留一张截图给人看：画整页比看一遍它合不合规矩还费力。"""
    if os.environ.get("KAGUAN_SCREENSHOTS"):
        await page.screenshot(path=place(f"{name}.png"), full_page=whole, animations="disabled")
