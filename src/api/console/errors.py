"""出错时给人看的一页：状态、说明、请求号；细节只在日志里。"""

from __future__ import annotations

from http import HTTPStatus

from aiohttp import web

from api.console.browser import HOME
from api.console.console_request import BACK, ConsoleRequest
from api.console.mount import CONSOLE
from api.http.context import context_of
from api.http.envelope import RETRY_AFTER
from api.http.translation import Translated
from kaguan.words.errors import MEANINGS, Code

LONGEST_SHOWN = 100  # 字；没有的地址照抄这么长


def error_page(request: web.Request, translated: Translated) -> web.Response | None:
    """首页与控制台给人看；其余地址是 None，错误仍是信封。"""
    if request.path != HOME and not request.path.startswith(f"{CONSOLE}/"):
        return None
    error = translated.error
    console = ConsoleRequest(request, None)
    nowhere = error.code is Code.NOT_FOUND and not error.zh
    message = error.text(console.language)
    reasons = [item.render(console.language)["reason"] for item in error.fields]
    retry_after = error.retry_after if error.retry_after is not None else RETRY_AFTER.get(error.code)
    response = console.render(
        "error.html",
        int(MEANINGS[error.code].status),
        code=int(error.code),
        message=message,
        nowhere=request.path[:LONGEST_SHOWN] if nowhere else "",
        ours=translated.unexpected or MEANINGS[error.code].status >= HTTPStatus.INTERNAL_SERVER_ERROR,
        reasons=[reason for reason in reasons if reason != message],
        away="database" if error.code is Code.DATABASE_UNAVAILABLE else "",
        request_id=context_of(request).request_id,
        origin=request.get(BACK, HOME),
    )
    response.headers.update(translated.headers)
    if retry_after is not None:
        response.headers["Retry-After"] = str(retry_after)
    return response
