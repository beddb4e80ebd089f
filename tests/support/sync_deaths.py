"""同步死在半途的几种死法，与死后留下的行。"""

from __future__ import annotations

import asyncio
import os
import signal
from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from kaguan.database.pool import Connection
from kaguan.outbox.task_type import P, P_co
from kaguan.outbox.work.attempt import Attempt
from kaguan.outbox.work.fence import Fence
from kaguan.outbox.work.outcome import Done, Outcome
from kaguan.sims.events import ChangeEvents
from tests.support import warm
from tests.support.eventually import PATIENCE
from tests.support.running_task import taken_over
from workers.statuses import StatusRecorder

SIMS = """
select iccid, lifecycle_state, carrier_status, suspend_reason, msisdn, imsi, activated_on, version
from tb_sim order by iccid
"""
EVENTS = "select iccid, old_state, new_state, carrier_status from tb_sim_event order by iccid, id"
STAGED = """
select change->>'iccid', change->>'old', change->>'new'
from vw_task, jsonb_array_elements(payload->'changes') as change
where type = 'event:publish' order by 1, 2, 3
"""
STDERR = 2  # 没过的用例，它说的也印出来
RECORDER = StatusRecorder(ChangeEvents(6))


def result_of(outcome: Outcome) -> dict[str, Any]:
    assert isinstance(outcome, Done)
    return outcome.result


@dataclass(slots=True)
class DiesBetweenBatches(Attempt[P_co]):
    """走到第 ``fatal`` 个安全点就停，如同进程在两批之间被杀。"""

    fatal: int = 1

    def checkpoint(self) -> None:
        self.fatal -= 1
        if self.fatal == 0:
            raise asyncio.CancelledError


@dataclass(slots=True)
class DiesBeforeCommit(Attempt[P_co]):
    """第 ``fatal`` 个事务写完、提交之前停。"""

    fatal: int = 1

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        async with Attempt.transaction(self) as connection:
            yield connection
            self.fatal -= 1
            if self.fatal == 0:
                raise asyncio.CancelledError


async def delivered_again(attempt: Attempt[P]) -> Attempt[P]:
    """租约被收走、重新投递：不计尝试。"""
    await taken_over(attempt.pool, attempt.task_id)
    token = attempt.token._replace(delivery=attempt.delivery + 1)
    return Attempt(Fence(attempt.pool, token), attempt.type, 1, 6, attempt.payload)


async def start(environ: dict[str, str], attempt: Attempt, url: str) -> warm.Process:
    carriers = {
        "KAGUAN_CARRIERS__ONELINK__BASE_URL": url,
        "KAGUAN_CARRIERS__ONELINK__PASSWORD": "onelink-secret",
        "KAGUAN_CARRIERS__ONELINK__PER_SECOND": "1000",
        "KAGUAN_CARRIERS__CONTROL_CENTER__BASE_URL": url,
        "KAGUAN_CARRIERS__CONTROL_CENTER__API_KEY": "center-secret",
        "KAGUAN_CARRIERS__CONTROL_CENTER__PER_SECOND": "1000",
        "KAGUAN_CARRIERS__CONTROL_CENTER__SESSIONS": "false",
        "KAGUAN_SMTP__URL": "smtp://127.0.0.1:1",
        "KAGUAN_WEBHOOKS__URL": url,  # 只入箱，不推
        "KAGUAN_WEBHOOKS__SECRET": f"whsec_{b64encode(bytes(32)).decode()}",
    }
    token, given = map(str, attempt.token), {**os.environ, **environ, **carriers}
    return await warm.start("tests.support.sync_process", *token, environment=given, output=STDERR)


async def killed_at(call: int, process: warm.Process, calls: Callable[[], int]) -> None:
    """``calls`` 数到 ``call`` 就 SIGKILL：那一次调用还没有应答。"""
    while calls() < call:
        assert process.returncode is None, process.returncode
        await asyncio.sleep(0)  # 模拟器就在这个事件循环里
    process.send_signal(signal.SIGKILL)
    assert await asyncio.wait_for(process.wait(), PATIENCE) == -signal.SIGKILL
