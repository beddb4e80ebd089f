"""故障旋钮与计数：每家运营商一套，经 ``/__admin/faults`` 读写；抽签用种子，可重演。"""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import StrEnum
from typing import Annotated

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field

from kaguan.carriers.onelink import BUSY, TOO_FREQUENT
from kaguan.words.units import DAY

Rate = Annotated[float, Field(ge=0, le=1)]


class Drift(StrEnum):
    """应答走样的方式。"""

    NONE = "none"
    MISSING_FIELD = "missing_field"  # 记录里少了必需的字段
    WRONG_SHAPE = "wrong_shape"  # 整个应答换了样
    NOT_JSON = "not_json"  # 一页 HTML


class Faults(BaseModel):
    """故障旋钮。比率是每次调用（或每张卡）的概率。

    Attributes:
        latency: 每次调用先等这么多秒。
        retry_after: 429 应答带的 ``Retry-After``，秒。
        token_lifetime: 令牌有效期，秒；0 即发出就过期。
        partial_rate: 批量应答里漏掉一张卡的概率。
        unknown_rate: 一个码（状态；OneLink 还有在线与否、停机原因）换成谁也认不出的的概率。
        stale_rate: 一张卡答的是上一次变更之前的状态、更正之前的用量的概率。
        revision_bump: 用量的 ``revision`` 加上这么多，数值也随之变。
        max_per_second: 真的按秒数数，超过就 429；空即不数。
        max_concurrency: 真的数在途调用，超过就 429；空即不数。
        refuse: 问到这些卡就说参数不对；OneLink 为一张而拒整批，Control Center 只拒那一张。
        in_body: 出错与限流都答 HTTP 200，只在正文里说（OneLink 的做法）。
        missed_rate: 一次变更没有做，应答也丢了的概率。
        lost_rate: 一次变更做了、应答丢了的概率。
        half_rate: 应答丢了，做了的与没做的轮流来的概率：一批里做了一半。
        later_rate: 一次变更答了、过 ``later`` 秒才做的概率。
        denied_rate: 一次变更被拒绝的概率；``wrong_state_rate``：说状态不对的概率。
        answer_delay: 变更做完了，隔这么多秒才答。
        times: 出错、限流、断线、走样只在其后这么多次调用里生效；空即一直。
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    latency: Annotated[float, Field(ge=0, le=60)] = 0.0
    error_rate: Rate = 0.0
    rate_limit_rate: Rate = 0.0
    retry_after: int | None = None
    drop_rate: Rate = 0.0
    token_lifetime: Annotated[float, Field(ge=0)] = 1_800.0
    partial_rate: Rate = 0.0
    unknown_rate: Rate = 0.0
    stale_rate: Rate = 0.0
    drift: Drift = Drift.NONE
    revision_bump: Annotated[int, Field(ge=0, le=1_000)] = 0
    max_per_second: int | None = None
    max_concurrency: int | None = None
    refuse: frozenset[str] = frozenset()
    in_body: bool = False
    missed_rate: Rate = 0.0
    lost_rate: Rate = 0.0
    half_rate: Rate = 0.0
    later_rate: Rate = 0.0
    later: Annotated[float, Field(ge=0, le=DAY)] = 0.0
    denied_rate: Rate = 0.0
    wrong_state_rate: Rate = 0.0
    answer_delay: Annotated[float, Field(ge=0, le=60)] = 0.0
    times: int | None = None


class Gate:
    """一家运营商的入口：计数、在途、抽签。"""

    def __init__(self, faults: Faults, seed: int) -> None:
        self.faults = faults
        self.calls: Counter[str] = Counter()
        self.violations: Counter[str] = Counter()
        self.in_flight = 0
        self.max_in_flight = 0
        self.halves = 0  # 应答丢了、轮流做与不做的变更，来过几次
        self._initial = faults
        self._recent: deque[float] = deque()
        self._random = random.Random(seed)  # noqa: S311 模拟用

    def reset(self) -> None:
        """旋钮与计数都回到起点。"""
        self.faults = self._initial
        self.calls.clear()
        self.violations.clear()
        self.max_in_flight = self.in_flight

    def chance(self, rate: float) -> bool:
        return rate > 0 and self._random.random() < rate

    @asynccontextmanager
    async def call(self, operation: str, request: web.Request) -> AsyncIterator[Drift]:
        """包住一次调用；交出这次应答要走样的方式。

        Raises:
            web.HTTPException: 抽中了限流、出错，或超过了真的上限。
        """
        self.calls[operation] += 1
        self.in_flight += 1
        self.max_in_flight = max(self.max_in_flight, self.in_flight)
        try:
            self._enforce()
            if self.faults.latency:
                await asyncio.sleep(self.faults.latency)  # 故障旋钮：就是要慢
            yield self._strike(request)
        finally:
            self.in_flight -= 1

    def _enforce(self) -> None:
        now = asyncio.get_running_loop().time()
        while self._recent and self._recent[0] <= now - 1:
            self._recent.popleft()
        self._recent.append(now)
        limits = {
            "concurrency": (self.in_flight, self.faults.max_concurrency),
            "rate": (len(self._recent), self.faults.max_per_second),
        }
        for name, (value, limit) in limits.items():
            if limit is not None and value > limit:
                self.violations[name] += 1
                raise self._too_many()

    def _strike(self, request: web.Request) -> Drift:
        faults = self.faults
        if faults.times is not None:
            if faults.times <= 0:
                return Drift.NONE
            self.faults = faults.model_copy(update={"times": faults.times - 1})
        if self.chance(faults.drop_rate) and request.transport is not None:
            request.transport.abort()
            raise web.HTTPServiceUnavailable  # 断了线的没有做
        if self.chance(faults.rate_limit_rate):
            raise self._too_many()
        if self.chance(faults.error_rate):
            raise self._broken()
        return faults.drift

    def _broken(self) -> web.HTTPException:
        if self.faults.in_body:
            return _said_in_body(BUSY, "系统繁忙")
        return web.HTTPInternalServerError(text='{"errorMessage": "simulated"}', content_type="application/json")

    def _too_many(self) -> web.HTTPException:
        if self.faults.in_body:
            return _said_in_body(TOO_FREQUENT, "调用太频繁")
        headers = {} if self.faults.retry_after is None else {"Retry-After": str(self.faults.retry_after)}
        text = '{"errorMessage": "Rate Limit Exceeded", "errorCode": "40000029"}'
        return web.HTTPTooManyRequests(text=text, content_type="application/json", headers=headers)


def _said_in_body(status: str, message: str) -> web.HTTPException:
    text = json.dumps({"status": status, "message": message, "result": []})
    return web.HTTPOk(text=text, content_type="application/json")
