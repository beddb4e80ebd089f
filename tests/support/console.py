"""控制台的访客：有自己的 cookie，像浏览器那样登录、看页面、交表单。"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp

from kaguan.tokens import service as tokens
from tests.support.addresses import base_of
from tests.support.eventually import eventually
from tests.support.serving import Api

CSRF = re.compile(r'name="csrf_token" value="([^"]*)"')
FORM = "application/x-www-form-urlencoded"


@dataclass(frozen=True, slots=True)
class Page:
    """一个应答；``location`` 是 303 要去的地方。"""

    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def location(self) -> str:
        return self.headers["Location"]

    def tested(self, name: str) -> str:
        """``data-testid`` 为 ``name`` 的元素里的文字（到它自己的结束标签为止）。"""
        found = re.search(rf'<(\w+)[^>]*data-testid="{re.escape(name)}"[^>]*>(.*?)</\1>', self.text, re.DOTALL)
        assert found is not None, f"页面里没有 {name}"
        return re.sub(r"<[^>]+>", "", found[2]).strip()


@dataclass(frozen=True, slots=True)
class Visitor:
    api: Api
    session: aiohttp.ClientSession

    @property
    def origin(self) -> str:
        base = base_of(self.session)
        return str(base).rstrip("/")

    @property
    def cookies(self) -> dict[str, str]:
        return {cookie.key: cookie.value for cookie in self.session.cookie_jar}

    async def get(self, path: str, headers: Mapping[str, str] | None = None) -> Page:
        async with self.session.get(path, headers=headers, allow_redirects=False) as response:
            return Page(response.status, response.headers, await response.text())

    async def csrf(self) -> str:
        found = CSRF.search((await self.get("/console/audit")).text)
        assert found is not None
        return found[1]

    async def post(
        self, path: str, form: Mapping[str, str] | None = None, headers: Mapping[str, str] | None = None
    ) -> Page:
        """从自己的页面交一张表单；``headers`` 可以改掉来处。"""
        sent = {"Origin": self.origin} if headers is None else headers
        async with self.session.post(path, data=form or {}, headers=sent, allow_redirects=False) as response:
            return Page(response.status, response.headers, await response.text())

    async def act(self, path: str, **form: str) -> Page:
        """带上会话的表单令牌。"""
        return await self.post(path, {"csrf_token": await self.csrf(), **form})

    async def log_in(self, token: str, target: str = "/") -> Page:
        return await self.post("/console/login", {"token": token, "next": target})

    async def audit(self) -> list[tuple[str, str, str, str | None]]:
        """（谁、操作、结果、对象），按次序；不算登录。"""
        return [
            (actor, action, outcome, target)
            for actor, action, outcome, target in await self.api.rows(
                "select actor, action, outcome, target from tb_audit order by id"
            )
            if not action.startswith("console.log")
        ]


@asynccontextmanager
async def visiting(api: Api) -> AsyncIterator[Visitor]:
    """还没有登录的访客。"""
    jar = aiohttp.CookieJar(unsafe=True)  # 地址是 IP
    async with aiohttp.ClientSession(base_of(api.session), cookie_jar=jar) as session:
        yield Visitor(api, session)


@asynccontextmanager
async def signed_in(api: Api, scopes: Sequence[str] = ("ops",), name: str = "operator") -> AsyncIterator[Visitor]:
    """以一枚叫 ``name`` 的令牌登录了的访客；同名的前一枚作废。"""
    await api.rows("update tb_api_token set revoked_at = now() where name = %s and revoked_at is null", name)
    async with api.pool.connection() as connection:
        token = (await tokens.create(connection, name, scopes)).token
    async with visiting(api) as visitor:

        async def answered() -> Page | None:
            page = await visitor.log_in(token)
            return page if page.status < 500 else None  # 请求的时限短的，停顿一下就过了

        page = await eventually(answered)
        assert page is not None
        assert page.status == 303
        yield visitor
