"""在跑的任务停在哪里：现问做着它的 worker。"""

from __future__ import annotations

from aiohttp import web

from api.console.console_request import ConsoleRequest
from api.console.task import id_in
from kaguan.outbox.operate.doing import doing
from kaguan.tokens.service import OPERATE
from kaguan.words.errors import Code, DomainError


async def stack(console: ConsoleRequest) -> web.Response:
    """只看的人问不得：要 worker 停下手来答。

    Raises:
        DomainError: 1003；1004 没有这个任务；1005 它不在跑。
    """
    if console.session is None:
        raise DomainError(Code.NOT_AUTHENTICATED)
    console.session.principal.require(OPERATE)
    services = console.services
    found = await doing(services.pool.connection, services.redis, id_in(console.request.match_info))
    return console.render("stack.html", s=found)
