"""控制台的一个请求：谁、用什么语言；页面与表单的处理函数看到的就是它。"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import aiohttp_jinja2
from aiohttp import web

from api.console import browser
from api.console.formatting import Formatter
from api.console.site import SITE, Link, Site
from api.console.texts import Translator
from api.http.context import context_of
from api.http.keys import SERVICES, Services
from kaguan.sessions.service import SignedIn
from kaguan.tokens.service import OPERATE, SIMS_READ
from kaguan.words.filling import fill
from kaguan.words.language import LANGUAGES

THEMES = ("auto", "light", "dark")
PAGE_POLICY = (
    "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
NOTICE_SEPARATOR = "|"
BACK = web.RequestKey("BACK", str)  # 表单被拒之后回哪一页


@dataclass(frozen=True, slots=True)
class ConsoleRequest:
    """``session`` 为 None 即没有登录（登录页、错误页）。"""

    request: web.Request
    session: SignedIn | None

    @property
    def services(self) -> Services:
        return self.request.app[SERVICES]

    @property
    def site(self) -> Site:
        return self.request.config_dict[SITE]

    @property
    def name(self) -> str:
        """这一套叫什么；没有起名就空着，页面写产品的名字。"""
        return " · ".join(filter(None, (self.services.settings.instance.name, self.site.name)))

    @property
    def colour(self) -> str:
        return self.services.settings.instance.colour

    @property
    def runbooks(self) -> str:
        return self.services.settings.instance.runbooks

    @property
    def links(self) -> list[Link]:
        """导航里给这个人看的。"""
        session = self.session
        return [] if session is None else [link for link in self.site.links if link.is_for(session.principal)]

    @property
    def request_id(self) -> str:
        return context_of(self.request).request_id

    @property
    def language(self) -> str:
        chosen = self.request.cookies.get(browser.LANGUAGE)
        return chosen if chosen in LANGUAGES else context_of(self.request).language

    @property
    def formatter(self) -> Formatter:
        return Formatter(Translator(self.language), self.services.settings.zone, personal=self.may_act)

    @property
    def may_act(self) -> bool:
        return self.session is not None and self.session.principal.may(OPERATE)

    @property
    def may_see_cards(self) -> bool:
        return self.may_act or (self.session is not None and self.session.principal.may(SIMS_READ))

    def render(self, template: str, status: int = 200, **context: Any) -> web.Response:
        """整页或片段；提示只显示一次。"""
        translate = Translator(self.language)
        chosen = self.request.cookies.get(browser.THEME, "")
        shared = {
            "console": self,
            "t": translate,
            "f": self.formatter,
            "lang": "zh-CN" if translate.language == "zh" else "en",
            "theme": chosen if chosen in THEMES else THEMES[0],
            "csrf": "" if self.session is None else self.session.csrf,
            "here": self.request.path_qs,
            "notice": self._notice(translate),
        }
        response = aiohttp_jinja2.render_template(template, self.request, {**shared, **context}, status=status)
        response.headers["Content-Security-Policy"] = PAGE_POLICY
        response.headers["Vary"] = "Cookie, Accept-Language"
        if shared["notice"]:
            response.del_cookie(browser.NOTICE, path="/")
        return response

    def _notice(self, translate: Translator) -> str:
        """提示 cookie 里的 ``键|数|没做的数``；只认词汇表里的键与 ASCII 数字。"""
        key, *given = self.request.cookies.get(browser.NOTICE, "").split(NOTICE_SEPARATOR)
        text = translate.known(f"notice.{key}", "") if key else ""
        numbers = [number if number.isascii() and number.isdigit() else "0" for number in (*given, "0", "0")]
        return fill(text, dict(zip(("count", "skipped"), numbers, strict=False)))
