"""从外面问 API：还答得出话吗，会按键排序吗。"""

from __future__ import annotations

from functools import partial

import aiohttp

from kaguan.flow.probes import LOOPBACK
from tests.chaos.stage import Stage
from tests.support.eventually import eventually

REQUEST_TIMEOUT = 8.0  # 秒


async def keeps_order(stage: Stage) -> bool:
    """邮件任务收不收 ``ordering_key``。"""
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=REQUEST_TIMEOUT)) as session,
        session.get(f"http://{LOOPBACK}:{stage.api_ports[0]}/openapi.json") as answer,
    ):
        return "ordering_key" in await answer.text()


async def silent(stage: Stage) -> list[str]:
    """故障都停了之后，``RETURN_TIMEOUT`` 秒之内仍不能从库里答出话来的 API。"""
    timeout = aiohttp.ClientTimeout(total=REQUEST_TIMEOUT)
    async with aiohttp.ClientSession(timeout=timeout, headers=stage.authorization) as session:

        async def answers(port: int) -> bool:
            try:
                async with session.get(f"http://{LOOPBACK}:{port}/api/v1/users?page_size=1") as answer:
                    return answer.status < 300
            except (aiohttp.ClientError, OSError, TimeoutError):
                return False

        found = []
        for number, port in enumerate(stage.api_ports):
            try:
                await eventually(partial(answers, port))
            except AssertionError:
                found.append(f"api-{number}")
        return found
