"""健康检查（T069–T076）：活着吗、能接请求吗、每个部件怎样。不用认证。"""

from __future__ import annotations

from typing import Any

from pydantic import Field

from api.call import Answer, Call
from api.endpoint import Endpoint, endpoint
from api.shapes import View
from api.unit_of_work import Mode


class LiveView(View):
    status: str = Field("ok", description="进程在运行即为 ok")


@endpoint("GET", "/health/live", scope=None, summary="进程是否活着", tag="health", data=LiveView, mode=Mode.DIRECT)
async def live(_call: Call[Any, Any]) -> Answer:
    return Answer(LiveView(status="ok"))


ROUTES: tuple[Endpoint, ...] = (live,)
