"""值班的人：从总览出发，一下一下地点，点了几下都数着；写字之前要点进那一格，答应一次确认也算一下。"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from playwright.async_api import Dialog, Locator, Page, expect

from tests.e2e.browser import DESKTOP, PHONE, opened

DEVICES: dict[str, dict[str, Any]] = {
    "桌面": {"viewport": DESKTOP},
    "手机": {"viewport": PHONE, "has_touch": True, "is_mobile": True},
}
ROOTS = '[data-testid="verdict"] > ul > li'


@dataclass(frozen=True, slots=True)
class Deed:
    """动了一次手：做了什么，从总览起点了几下。"""

    what: str
    clicks: int


@dataclass  # 没有 slots：Playwright 往处理者身上记东西
class Person:
    """``touch``：用手指点。"""

    page: Page
    touch: bool
    clicks: int = 0
    deeds: list[Deed] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("dialog", self._agree)

    async def _agree(self, dialog: Dialog) -> None:
        self.clicks += 1
        await dialog.accept()

    def root(self, code: str, words: str) -> Locator:
        """横幅里的一件根由，话里有 ``words``；它的后果收在里面，不算。"""
        return self.page.locator(f'{ROOTS}[data-concern="{code}"]').filter(has_text=re.compile(words))

    async def press(self, target: Locator) -> None:
        self.clicks += 1
        await (target.tap() if self.touch else target.click())

    async def pull(self, code: str, words: str = "") -> None:
        """那件事旁边的手柄。"""
        await self.press(self.root(code, words).locator("> .ways").get_by_test_id("lever"))

    async def write(self, target: Locator, text: str) -> None:
        """光标已经在那里的，直接写。"""
        await expect(target).to_be_visible()
        if not await target.evaluate("one => one === document.activeElement"):
            await self.press(target)
        await self.page.keyboard.type(text)

    async def done(self, what: str) -> None:
        """页面说做成了，记下这一次；回到总览，再数。"""
        await expect(self.page.get_by_test_id("notice")).to_be_visible()
        self.deeds.append(Deed(what, self.clicks))
        await self.home()

    async def home(self) -> None:
        await opened(self.page, "/")
        self.clicks = 0
