"""用例末了的裁判自己的考试：真的走完全程的历史，少、重、换一步就认得出；自己动手的一步也认得出。"""

from __future__ import annotations

from collections import Counter
from contextlib import AsyncExitStack

import pytest

from kaguan.config import Settings
from kaguan.mail.task import EMAIL_SEND
from tests.chaos.histories import mutants, steps, word
from tests.chaos.history_rules import allowed
from tests.chaos.recording import Recorded
from tests.model.history import END, Rules
from tests.support import judging
from tests.support.fault_plant import Effects
from tests.support.installed import program
from tests.support.mail_tasks import SENDER, config_for
from tests.support.pipeline import open_pipeline
from tests.support.serving import Api
from tests.support.smtp_server import smtp_server
from workers.email.handler import EmailHandler
from workers.email.transport import open_mailer

RULES = Rules(arrivals=False)
MAIL = {"to": ["a@example.com"], "subject": "s", "body": "b"}
# 弄坏了而协议走得出来的：认领抢先，标记就跳过它，只拿走发件箱行。两段历史各一处
EXPLAINED = Counter({("一步里少一样", "status=queued、outbox 少 status"): 2})


@pytest.fixture(autouse=True)
def _spin() -> None:
    program("spin", since=(6, 5), asking="-V")
    program("gcc")


async def walked(api: Api, settings: Settings, url: str) -> list[Recorded]:
    """经 API 受理、由 relay 交出、由 worker 做完：一个在结算的事务里生效，一封真的寄。"""
    async with AsyncExitStack() as stack:
        pipeline = await stack.enter_async_context(open_pipeline(settings, api.pool))
        server = await stack.enter_async_context(smtp_server())
        mailer = await stack.enter_async_context(open_mailer(config_for(server.url)))
        for handler in (Effects(), EmailHandler(mailer, SENDER)):
            task_id = (await api.call("POST", "/tasks/email", MAIL)).data["task_id"]
            await pipeline.forwarder.run_once()
            await pipeline.execution(handler, types=[EMAIL_SEND])({}, deliveries=[(task_id, 1)])
    return judging.read(url)


async def test_a_history_with_a_step_missing_doubled_or_swapped_is_refused(
    api: Api, settings: Settings, direct_url: str
) -> None:
    histories = await walked(api, settings, direct_url)
    taken = {history.mail: steps(history) for history in histories}
    assert {mail: len(one) for mail, one in taken.items()} == {False: 4, True: 5}
    broken = [(kind, place, word(one, mail=mail)) for mail, own in taken.items() for kind, place, one in mutants(own)]
    whole = [word(one, mail=mail) for mail, one in taken.items()]
    possible = allowed([*whole, *(one for *_, one in broken)], RULES)
    assert set(whole) <= possible
    assert all(one[-1] == END for one in whole)
    assert Counter((kind, place) for kind, place, one in broken if one in possible) == EXPLAINED


@pytest.mark.unjudged("成功是改出来的：考的是判得出来")
async def test_one_step_by_hand_is_refused_and_told(api: Api, direct_url: str) -> None:
    judging.install(direct_url)
    task_id = (await api.call("POST", "/tasks/email", MAIL)).data["task_id"]
    await api.rows("delete from tb_outbox")
    await api.rows("update tb_task set status = 'succeeded', finished_at = now()")
    refused, unknown = judging.load().examine(judging.read(direct_url), RULES)
    assert (len(refused), unknown) == (1, 0)
    assert refused[0].startswith(f"{task_id}：status=pending、delivery、outbox → ")


async def test_without_spin_what_is_known_passes_and_the_rest_is_counted(
    api: Api, settings: Settings, direct_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    histories = await walked(api, settings, direct_url)
    monkeypatch.setenv("PATH", "")
    assert judging.load().examine(histories, RULES) == ([], 0)
    assert judging.Judge().examine(histories, RULES) == ([], len(histories))


def test_the_known_histories_were_judged_by_the_model_as_it_is() -> None:
    """不是的话：``python -m tests.support.judging`` 重判。"""
    mark, lines = judging.stored()
    assert mark == judging.fingerprint()
    assert len(lines) == len(set(lines))
