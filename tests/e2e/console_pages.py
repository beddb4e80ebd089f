"""控制台的每一页，照路由表：少了哪一页的样子、多了哪一页，当场就错。"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from aiohttp import hdrs
from aiohttp.web import RouteDef

PART, FILE = "页面里的一块", "下载"
# 不是页面的，与为什么
NOT_PAGES = {
    "/console/assets/{name}": "样式与脚本",
    "/console/live/overview": PART,
    "/console/live/whoami": PART,
    "/console/live/tasks": PART,
    "/console/live/tasks/{task_id}": PART,
    "/console/live/tasks/{task_id}/trace": PART,
    "/console/live/sims/{iccid}": PART,
    "/console/live/sims/changes/{change}": PART,
    "/console/sims/export": FILE,
    "/console/sims/{iccid}/events": FILE,
    "/console/sims/changes/{change}/receipts": FILE,
    "/console/audit/export": FILE,
    "/console/enter": "进门的链接，转到总览",
    "/console/login": "登录了就转走；登录的用例看它",
    "/health": "页面的脚本问的",
}


def shown(routes: Iterable[RouteDef], samples: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """全部的名字与地址。``samples`` 是要另给样子的：路由到名字与地址；地址里要填东西的都得给。"""
    pages = {route.path for route in routes if route.method == hdrs.METH_GET} - NOT_PAGES.keys()
    plain = {page: {page.removeprefix("/console/").replace("/", "-"): page} for page in pages if "{" not in page}
    variants = {**plain, **samples}
    assert pages == variants.keys(), sorted(pages ^ variants.keys())
    return {name: path for given in variants.values() for name, path in given.items()}
