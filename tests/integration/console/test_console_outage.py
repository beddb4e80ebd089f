"""PostgreSQL 成了黑洞：控制台按时给出一页说明，恢复之后照常；看的人再多也不拖垮池子。"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

from kaguan.config import load_settings
from kaguan.verdict.patience import SHIPPED
from tests.chaos.proxy import Proxy
from tests.support.console import signed_in
from tests.support.eventually import PACE, eventually
from tests.support.serving import serving

SHORT = {"KAGUAN_API__REQUEST_TIMEOUT": str(1.5 * PACE), "KAGUAN_DATABASE__ACQUIRE_TIMEOUT": str(1.5 * PACE)}
LOOK = re.compile(r'data-testid="last-look"><time datetime="([^"]+)"')  # 到毫秒：各看各的就各不相同


@asynccontextmanager
async def proxied(url: str) -> AsyncIterator[tuple[Proxy, str]]:
    port = urlsplit(url).port
    assert port is not None
    proxy = Proxy(port)
    await proxy.start()
    try:
        yield proxy, url.replace(f":{port}/", f":{proxy.port}/")
    finally:
        await proxy.stop()


async def test_an_outage_is_a_page_in_time_and_the_console_comes_back(
    environ: dict[str, str], database_url: str
) -> None:
    async with proxied(database_url) as (proxy, through):
        settings = load_settings({**environ, **SHORT, "KAGUAN_DATABASE__URL": through})
        async with serving(settings, patience=SHIPPED) as api, signed_in(api) as visitor:
            proxy.blackhole()
            pages = await asyncio.gather(*(visitor.get(path) for path in ("/", "/console/tasks") * 4))
            for page in pages:
                assert page.status in {503, 504}
                assert page.headers["Content-Type"].startswith("text/html")
                assert page.tested("error")
            proxy.cut()
            proxy.heal()

            async def recovered() -> bool:
                return (await visitor.get("/")).status == 200

            assert await eventually(recovered)


async def test_a_redis_that_does_not_answer_is_named_on_the_page_of_the_queues(environ: dict[str, str]) -> None:
    async with proxied(environ["KAGUAN_REDIS__URL"]) as (proxy, through):
        settings = load_settings({**environ, "KAGUAN_REDIS__URL": through})
        async with serving(settings, patience=SHIPPED) as api, signed_in(api) as visitor:

            async def answers() -> bool:
                return 'data-testid="no-redis"' not in (await visitor.get("/console/queues")).text

            await eventually(answers)
            proxy.blackhole()
            page = await visitor.get("/console/queues", {"Accept-Language": "en"})
            assert (page.status, "Redis does not answer" in page.tested("no-redis")) == (200, True), page.text
            proxy.cut()


async def test_many_watchers_share_one_look(environ: dict[str, str]) -> None:
    settings = load_settings({**environ, "KAGUAN_DATABASE__POOL_MAX": "2"})
    async with serving(settings) as api, signed_in(api) as visitor:
        fragments = await asyncio.gather(*(visitor.get("/console/live/overview") for _ in range(40)))
        assert {page.status for page in fragments} == {200}
        looks = {LOOK.search(page.text) for page in fragments}
        assert None not in looks
        assert len({found[1] for found in looks if found is not None}) < len(fragments) / 4
