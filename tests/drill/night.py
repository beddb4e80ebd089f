"""``python -m tests.drill.night [哪几件 …]``：每件事一套新的栈，人拿着桌面、手机各走一遍，写成一页。

退出码 0 即每件都在 20 秒之内说中了缘由、没有冤枉谁、三下之内动了手。
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shlex
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from playwright.async_api import Browser, expect
from playwright.async_api import Error as PlaywrightError

from tests.bench.report import surroundings
from tests.drill.nights import NIGHTS, Night
from tests.drill.person import DEVICES, Deed, Person
from tests.drill.scoring import PROMPT
from tests.drill.stage import Stage, staged
from tests.e2e.browser import calm, chromium, tab
from tests.e2e.site import log_in
from tests.support.alongside import alongside
from tests.support.places import temporary_place

MOST_CLICKS = 3
EVERY = 1.0  # 秒
OUTAGE = r"status of 50[034]|ERR_CONNECTION|ERR_TIMED_OUT|请求失败"
HEAD = """| 什么事 | 拿着 | 几秒后说出 | 说的根由 | 冤枉了 | 动了什么手 | 点了几下 |
| --- | --- | ---: | --- | --- | --- | ---: |
"""


@dataclass(frozen=True, slots=True)
class Played:
    """走了一遍：几秒后总览说全了，说了哪些根由，冤枉了谁，动了哪些手；``why``：哪里没有走通。"""

    night: Night
    device: str
    seconds: float = 0.0
    causes: Sequence[str] = ()
    wronged: Sequence[str] = ()
    deeds: Sequence[Deed] = ()
    why: str = ""

    @property
    def passed(self) -> bool:
        return not self.why and not self.wronged and all(deed.clicks <= MOST_CLICKS for deed in self.deeds)

    def line(self) -> str:
        if self.why:
            return f"| {self.night.title} | {self.device} | | **没有走通**：{self.why} | | | |\n"
        cells = (
            self.night.title,
            self.device,
            f"{self.seconds:.1f}",
            "；".join(self.causes),
            "、".join(self.wronged) or "没有",
            "；".join(deed.what for deed in self.deeds) or "没有可动的",
            "；".join(str(deed.clicks) for deed in self.deeds) or "0",
        )
        return f"| {' | '.join(cells)} |\n"


async def blame(stage: Stage, seen: set[tuple[str, str]]) -> None:
    """从头到尾，判断里说过是根由的都记下；只是说一声的不算。"""
    while True:
        try:
            async with stage.client.get("/health") as answer:
                verdict = ((await answer.json())["data"] or {}).get("verdict") or {"concerns": []}  # 504 没有判断
                concerns = [one for one in verdict["concerns"] if one["level"] != "ok" and not one.get("because")]
                seen |= {(one["code"], one["text"]) for one in concerns}
        except (aiohttp.ClientError, TimeoutError):
            pass
        await asyncio.sleep(EVERY)


async def play(night: Night, device: str, stage: Stage, browser: Browser) -> Played:
    """总览开着，事情来了：等它自己说出来，去动手。"""
    seen: set[tuple[str, str]] = set()
    async with tab(browser, stage.stack.url, expected=OUTAGE, **DEVICES[device]) as page:
        await log_in(page, stage.stack.token)
        await calm(page)
        person = Person(page, touch="has_touch" in DEVICES[device])
        async with alongside(blame(stage, seen), "blame"):
            began = time.monotonic()
            async with night.strike(stage):
                causes = [person.root(code, words) for code, words in night.told]
                for cause in causes:
                    await expect(cause).to_be_visible()
                seconds = time.monotonic() - began
                texts = [await cause.locator("> a").inner_text() for cause in causes]
                await night.act(person, stage)
    right = {code for code, _ in night.told} | night.also
    wronged = {code: f"{code}：{text}" for code, text in sorted(seen) if code not in right}
    return Played(night, device, seconds, texts, list(wronged.values()), person.deeds)


@asynccontextmanager
async def evening() -> AsyncIterator[Stage]:
    with temporary_place("night") as place:
        async with staged(place, KAGUAN_API__LOGIN_PER_MINUTE="100") as stage:
            yield stage


async def campaign(nights: Sequence[Night], devices: Sequence[str]) -> list[Played]:
    found = []
    sys.stdout.write(HEAD)
    async with chromium() as browser:
        for night in nights:
            for device in devices:
                try:
                    async with evening() as stage:
                        found.append(await play(night, device, stage, browser))
                except (AssertionError, PlaywrightError) as error:  # 没有走通的记在表里，余下的照走
                    found.append(Played(night, device, why=" ".join(repr(error).split())))
                sys.stdout.write(found[-1].line())
                sys.stdout.flush()
    return found


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.drill.night", description=__doc__)
    parser.add_argument("nights", nargs="*", choices=[[], *NIGHTS], metavar="哪件", help="、".join(NIGHTS))
    parser.add_argument("--device", choices=DEVICES, action="append", help="不给就都来")
    parser.add_argument("--write", type=Path, help="写成的那一页")
    options = parser.parse_args()
    load = os.getloadavg()[0]
    chosen = [NIGHTS[name] for name in options.nights or NIGHTS]
    found = asyncio.run(campaign(chosen, options.device or list(DEVICES)))
    if options.write:
        options.write.write_text(
            PREFACE.format(where=surroundings(f"python -m tests.drill.night {shlex.join(sys.argv[1:])}", load))
            + HEAD
            + "".join(played.line() for played in found),
            "utf-8",
        )
    return 0 if all(played.passed and played.seconds <= PROMPT for played in found) else 1


PREFACE = """# 夜里：从告诉到动手

由 `make prove P=night` 写成，不手改。真的进程、PostgreSQL、Valkey、邮件中继、运营商模拟器，真的 Chromium：总览开着，
事情来了，等它自己说出缘由，再从总览一下一下点到动得了手的地方，动了手，看到效果。每件事一套新的栈，桌面与手机（390
像素宽，用手指点）各走一遍。点几下都算：点链接、点按钮、点进要写字的那一格、答应一次确认；写字不算。全程不用 psql。

「几秒后说出」是这台机器上量的，旁边有别的活，是上限；点几下、说中没有、冤枉没有是数出来的，不随机器而变。

{where}

"""


if __name__ == "__main__":
    sys.exit(main())
