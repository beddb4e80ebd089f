"""控制台的每条地址都守同样的规矩；新加的也逃不掉（用例按路由表走）。"""

from __future__ import annotations

import re

from aiohttp import hdrs, web

from api.console.registered import routes
from tests.support.console import signed_in, visiting
from tests.support.folded import folded
from tests.support.serving import Api

TASK = "018bcfe5-68c9-7000-8000-000000000009"
CARD = "89860000000000000000"
OPEN = {"/console/login", "/console/live/whoami", "/console/assets/{name}"}
FREE = {"/console/login", "/console/preferences"}  # 不改业务数据的表单，只核对来处
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
READS = [route for route in routes() if route.method == hdrs.METH_GET]
WRITES = [route for route in routes() if route.method == hdrs.METH_POST]


def concrete(route: web.RouteDef) -> str:
    path = route.path.replace("{task_id}", TASK).replace("{iccid}", CARD).replace("{name}", "console.css")
    path = path.replace("{change}", "1").replace("{pause_id}", "1").replace("{acknowledgement}", "1")
    assert "{" not in path
    return path


def named(route: web.RouteDef) -> str:
    return f"{route.method} {route.path}"


def test_the_table_holds_only_reads_and_forms() -> None:
    assert len(READS) + len(WRITES) == len(routes()) > 20
    assert all(route.path == "/" or route.path.startswith("/console/") for route in routes())


@folded("route", READS)
async def test_a_stranger_sees_nothing_but_the_login(api: Api, route: web.RouteDef) -> None:
    async with visiting(api) as stranger:
        page = await stranger.get(concrete(route))
        if route.path in OPEN:
            assert page.status == 200
        elif "/live/" in route.path:
            assert (page.status, page.text) == (401, "")
        else:
            assert (page.status, page.text) == (303, "")
            assert page.location.startswith("/console/login?next=")
        for name, value in HEADERS.items():
            assert page.headers[name] == value
        assert "default-src" in page.headers["Content-Security-Policy"]
        assert route.path == "/console/assets/{name}" or page.headers["Cache-Control"] == "no-store"


@folded("route", WRITES)
async def test_no_form_is_taken_from_another_site_or_without_the_session(api: Api, route: web.RouteDef) -> None:
    async with visiting(api) as stranger:
        forged = await stranger.post(concrete(route), {"token": api.token}, {"Origin": "https://evil.example"})
        assert forged.status == 403
        if route.path not in FREE:
            assert (await stranger.post(concrete(route))).location.startswith("/console/login")
    assert await api.rows("select count(*) from tb_session") == [(0,)]


@folded("route", [route for route in WRITES if route.path not in FREE])
async def test_every_form_needs_the_session_token_and_a_scope_that_may_act(api: Api, route: web.RouteDef) -> None:
    async with signed_in(api) as operator:
        assert (await operator.post(concrete(route), {"csrf_token": "x"})).status == 403
    async with signed_in(api, ["ops:read"], "watcher") as watcher:
        page = await watcher.act(concrete(route))
        assert page.status == (303 if route.path == "/console/logout" else 403)


@folded("route", [route for route in READS if route.path not in OPEN])
async def test_who_may_look_sees_every_page_and_it_links_only_to_us(api: Api, route: web.RouteDef) -> None:
    async with signed_in(api, ["ops:read", "sims:read"], "watcher") as watcher:
        page = await watcher.get(concrete(route))
        found = 404 if re.search(r"{(task_id|iccid|change)}", route.path) else 200
        # 别人的代码停在哪、整份审计，只给能动手的看
        assert page.status == (403 if route.path.endswith(("/stack", "/audit/export")) else found)
        links = re.findall(r'(?<![\w-])(?:href|src|action)="([^"]*)"', page.text)
        assert all(link.startswith(("/", "#")) for link in links)
