"""改卡的战役：几千张卡，几百次故障，每张恰好做一次，没有一张两次，每个不明都点得出名。

运营商的模拟器在本进程里，真的套接字；API、relay、worker 都是真的进程。裁判只看两样：柜台做了什么，回执说了什么。
``python -m tests.chaos.card_changes --write docs/evidence/CHANGES.md``；退出码 1 是有承诺被打破，或对照不如所料。
"""

from __future__ import annotations

import argparse
import asyncio
import random
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeAlias

import aiohttp
import psycopg
from redis.exceptions import RedisError

from kaguan.dev.program import StartError
from kaguan.dev.simulator import iccid_at
from kaguan.dev.simulator.population import Override
from kaguan.flow.probes import LOOPBACK
from kaguan.sims.vocabulary import Carrier, ReceiptStatus
from tests.chaos.process_faults import PAUSE, Missed, all_killed, paused, signalled
from tests.chaos.server_faults import postgres_restarted, redis_killed, redis_told, sessions_terminated
from tests.chaos.servers import Servers, running_servers
from tests.chaos.stage import Cast, Stage, staged
from tests.support.carrier_world import Simulated, simulating
from tests.support.changing import ACTIVE, executions
from tests.support.eventually import PACE, PATIENCE, eventually
from tests.support.occasion import occasion

CARDS, FAULTS, SEED = 5_000, 200, 20_261
BATCH = 50  # 一次要求几张
GRACE = PAUSE + 5 * PACE  # 秒；比停住的进程长：醒来的那一个先做完，宽限过了才信没做
STRUCK = 1.5  # 秒；运营商的一种毛病至多这么久
RECEIPTS = """
select iccid, status, evidence is not null, reason is not null from tb_sim_receipt where task_id is not null
"""
UNDECIDED = "select count(*) from tb_sim_receipt where status = 'pending'"
STOCK = """
insert into tb_sim (iccid, carrier, luhn_valid, lifecycle_state) select unnest(%s::text[]), %s, true, 'active'
"""

Strike: TypeAlias = Callable[[Stage, random.Random], Awaitable[None]]

PROCESSES: Mapping[str, Strike] = {
    "SIGKILL 一个 worker": partial(signalled, "worker", signal.SIGKILL),
    "SIGTERM 一个 worker": partial(signalled, "worker", signal.SIGTERM),
    "SIGKILL 全部 worker": partial(all_killed, "worker"),
    "停住一个 worker 比租约久": partial(paused, "worker"),
    "SIGKILL 一个 relay": partial(signalled, "relay", signal.SIGKILL),
    "FLUSHALL": partial(redis_told, ("FLUSHALL",)),
    "Redis 死了，回来是空的": redis_killed,
    "断开七成会话": sessions_terminated,
    "PostgreSQL 快速重启": partial(postgres_restarted, signal.SIGINT),
    "PostgreSQL 立刻停下再起": partial(postgres_restarted, signal.SIGQUIT),
}
CARRIERS: Mapping[str, Mapping[str, float]] = {
    "做了，应答丢了": {"lost_rate": 0.7},
    "没做，应答也丢了": {"missed_rate": 0.7},
    "做了一半": {"half_rate": 0.8},
    "答了，过一会儿才做": {"later_rate": 0.8, "later": 1.0},
    "拒绝": {"denied_rate": 0.2},
    "说状态不对": {"wrong_state_rate": 0.2},
    "说太快了": {"rate_limit_rate": 0.5, "retry_after": 1},
    "慢": {"latency": 0.3},
    "做完了，答得慢": {"answer_delay": 3.0},
    "出错": {"error_rate": 0.5},
}


@dataclass(frozen=True, slots=True)
class Plan:
    """``mutation``：弄坏的零件，对照用；见 ``worker_main``。``kinds``：只用这几种故障。"""

    cards: int
    faults: int
    seed: int = SEED
    mutation: str = ""
    kinds: tuple[str, ...] = (*PROCESSES, *CARRIERS)


@dataclass(slots=True)
class Verdict:
    """裁判的结论。"""

    statuses: Counter[str]
    struck: Counter[str]
    missed: int
    broken: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        return not self.broken


def cards(count: int) -> dict[Carrier, list[str]]:
    """各家一半。"""
    return {carrier: [iccid_at(carrier, index) for index in range(count // 2)] for carrier in Carrier}


async def fight(servers: Servers, plan: Plan) -> Verdict:
    """打一场：一边要求停机，一边出故障；都好了之后等到没有没做完的，再判。"""
    source = random.Random(plan.seed)
    mine = cards(plan.cards)
    async with simulating() as simulated, opened(servers, plan, simulated) as stage:
        await stocked(stage, simulated, mine)
        struck: Counter[str] = Counter()
        asking = asyncio.create_task(asked(stage, mine, source, plan.faults))
        missed = await strike(stage, simulated, plan, source, struck)
        await asking
        for carrier in Carrier:
            simulated.faults(carrier, max_concurrency=None)
        await eventually(partial(settled, stage), 10 * PATIENCE)
        return judged(await receipts(stage), simulated, struck, missed)


@asynccontextmanager
async def opened(servers: Servers, plan: Plan, simulated: Simulated) -> AsyncIterator[Stage]:
    url = simulated.config.onelink.base_url
    prefix = "KAGUAN_CARRIERS__"
    pace = {
        f"{prefix}CHANGE_GRACE": str(GRACE),
        f"{prefix}TIME_BUDGET": "5",
        f"{prefix}BREAKER_COOLDOWN": "1",
        f"{prefix}ONELINK__BASE_URL": url,
        f"{prefix}ONELINK__APP_ID": simulated.config.onelink.app_id,
        f"{prefix}ONELINK__PASSWORD": simulated.config.onelink.password.get_secret_value(),
        f"{prefix}ONELINK__PER_SECOND": "1000",
        f"{prefix}ONELINK__TIMEOUT": "2",
        f"{prefix}CONTROL_CENTER__BASE_URL": url,
        f"{prefix}CONTROL_CENTER__USERNAME": simulated.config.control_center.username,
        f"{prefix}CONTROL_CENTER__API_KEY": simulated.config.control_center.api_key.get_secret_value(),
        f"{prefix}CONTROL_CENTER__PER_SECOND": "1000",
        f"{prefix}CONTROL_CENTER__CONCURRENCY": "4",
        f"{prefix}CONTROL_CENTER__TIMEOUT": "2",
    }
    name = "_".join(filter(None, ("changes", plan.mutation)))
    cast = Cast(apis=1, relays=2, workers=3, mutation=plan.mutation, pace=pace)
    async with staged(servers, name, cast) as stage:
        yield stage


async def stocked(stage: Stage, simulated: Simulated, mine: Mapping[Carrier, list[str]]) -> None:
    now = simulated.world.now()
    async with stage.postgres() as connection:
        for carrier, iccids in mine.items():
            simulated.faults(carrier, max_concurrency=None)
            for iccid in iccids:
                simulated.world.population.overrides[carrier, iccid] = Override(ACTIVE[carrier], exists=True, at=now)
            await connection.execute(STOCK, (iccids, carrier.value))


async def asked(stage: Stage, mine: Mapping[Carrier, list[str]], source: random.Random, faults: int) -> None:
    """一批一批地要求，铺满整场；没有回音的照原样再来，同一个号只有一次。"""
    everyone = [iccid for iccids in mine.values() for iccid in iccids]
    source.shuffle(everyone)
    batches = [everyone[start : start + BATCH] for start in range(0, len(everyone), BATCH)]
    url = f"http://{LOOPBACK}:{stage.api_ports[0]}/api/v1/sims/changes"
    pause = faults * STRUCK / 2 / len(batches)
    async with aiohttp.ClientSession(headers=stage.authorization) as session:
        for number, batch in enumerate(batches):
            body = {"change": "suspend", "iccids": batch, "reason": "战役", "request_id": f"batch-{number}"}
            await eventually(partial(accepted, session, url, body))
            await asyncio.sleep(pause)


async def accepted(session: aiohttp.ClientSession, url: str, body: Mapping[str, object]) -> bool:
    try:
        async with session.post(url, json=body) as response:
            return response.status in {200, 202}
    except (aiohttp.ClientError, TimeoutError):
        return False


async def strike(stage: Stage, simulated: Simulated, plan: Plan, source: random.Random, struck: Counter[str]) -> int:
    """一次一种，轮着来；返回没打中几次。"""
    kinds: list[str] = []
    missed = 0
    for _ in range(plan.faults):
        kinds = kinds or source.sample(plan.kinds, len(plan.kinds))
        kind = kinds.pop()
        try:
            if kind in PROCESSES:
                await PROCESSES[kind](stage, source)
            else:
                simulated.faults(source.choice(list(Carrier)), max_concurrency=None, **CARRIERS[kind])
            struck[kind] += 1
        except (Missed, psycopg.Error, RedisError, OSError, StartError):
            missed += 1
        await asyncio.sleep(source.uniform(0.3, STRUCK))
    return missed


async def settled(stage: Stage) -> bool:
    try:
        async with stage.postgres() as connection:
            row = await (await connection.execute(UNDECIDED)).fetchone()
    except psycopg.OperationalError:  # 停顿了几秒，没有连上：再问
        return False
    return row is not None and row[0] == 0


async def receipts(stage: Stage) -> list[tuple[object, ...]]:
    async with stage.postgres() as connection:
        return await (await connection.execute(RECEIPTS)).fetchall()


def judged(found: list[tuple[object, ...]], simulated: Simulated, struck: Counter[str], missed: int) -> Verdict:
    """每张回执对着柜台的账：做成的恰好一次，没做成的一次也没有，不明的至多一次；账上没有别的。"""
    verdict = Verdict(Counter(str(row[1]) for row in found), struck, missed)
    done = executions(simulated)
    allowed = {
        ReceiptStatus.SUCCEEDED: {1},
        ReceiptStatus.REFUSED: {0},
        ReceiptStatus.FAILED: {0},
        ReceiptStatus.UNCERTAIN: {0, 1},
    }
    for iccid, status, proven, explained in found:
        times = done.pop(str(iccid), 0)
        if times not in allowed[ReceiptStatus(str(status))]:
            verdict.broken.append(f"{iccid}：回执说 {status}，运营商做了 {times} 次")
        if not (proven if status == ReceiptStatus.SUCCEEDED else explained):
            verdict.broken.append(f"{iccid}：{status}，却没有凭据或原因")
    verdict.broken += [f"{iccid}：没有回执，运营商做了 {times} 次" for iccid, times in done.items()]
    return verdict


CONTROLS: Mapping[str, str] = {
    "no_intent": "去做之前不记意向",
    "no_change_verify": "没有回音的不去问，当作没做过",
}
NARROW = ("SIGKILL 全部 worker", "做了，应答丢了", "SIGKILL 一个 worker", "做完了，答得慢")


def page(plan: Plan, verdict: Verdict, controls: Mapping[str, Verdict]) -> str:
    """证据的一页。"""
    counts = "\n".join(f"| {status.value} | {verdict.statuses[status]} |" for status in ReceiptStatus)
    faults = "\n".join(f"| {kind} | {verdict.struck[kind]} |" for kind in plan.kinds)
    broken = "\n".join(f"- {line}" for line in verdict.broken[:20]) or "没有。"
    condemned = "\n".join(
        f"| {CONTROLS[name]} | {'判了：' + one.broken[0] if one.broken else '**没有判出来**'} | {len(one.broken)} |"
        for name, one in controls.items()
    )
    return f"""# 改卡：每张恰好一次

由 `make prove P=changes` 写成，不要手改。{occasion()}。
{plan.cards:,} 张卡停机，{plan.faults} 次故障，种子 {plan.seed}；
API、relay、worker 是真的进程，运营商的模拟器在真的套接字上。
裁判只看两样：模拟器的柜台每张卡真的做了几次，每张回执说了什么。做成的恰好一次且有凭据，没做成的一次也没有，不明的至多一次且有原因。

{"**合格**：没有一张做了两次。" if verdict.passed else "**不合格。**"}

| 回执 | 张 |
| --- | --- |
{counts}

打破承诺的：{broken}

| 故障 | 次 |
| --- | --- |
{faults}
| 没打中的 | {verdict.missed} |

对照：弄坏的构建，裁判须判出来。

| 弄坏了什么 | 裁判 | 张 |
| --- | --- | --- |
{condemned or "| 没有跑 | | |"}
"""


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.card_changes", description="改卡，每张恰好一次。")
    parser.add_argument("--cards", type=int, default=CARDS)
    parser.add_argument("--faults", type=int, default=FAULTS)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--no-controls", action="store_true")
    parser.add_argument("--write", type=Path)
    return parser.parse_args()


async def main(asked_for: argparse.Namespace) -> int:
    plan = Plan(asked_for.cards, asked_for.faults, asked_for.seed)
    async with running_servers() as servers:
        verdict = await fight(servers, plan)
        controls = {
            name: await fight(servers, Plan(400, 30, plan.seed, name, NARROW))
            for name in (() if asked_for.no_controls else CONTROLS)
        }
    text = page(plan, verdict, controls)
    sys.stdout.write(text)
    if asked_for.write is not None:
        asked_for.write.write_text(text, "utf-8")
    return 0 if verdict.passed and all(one.broken for one in controls.values()) else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main(arguments())))
