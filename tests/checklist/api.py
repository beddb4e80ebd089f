"""API 的几行：真实的进程，出厂的时限，两个真的服务器；要使坏的线路经代理。"""

from __future__ import annotations

import asyncio
import gzip
import os
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import psycopg

from tests.attacks.attempts import EMAIL, USERS, Attempt
from tests.attacks.measure import Target, measure, resident
from tests.attacks.target import attacked
from tests.bench.laboratory import Laboratory
from tests.chaos.proxy import Proxy
from tests.checklist.figures import Bound, Figure, percentile
from tests.support.eventually import PATIENCE, eventually
from tests.support.fault_plant import local, port_of, through
from tests.support.repository import ROOT

MAIL = {"to": ["a@example.com"], "subject": "s", "body": "b"}
IN_TIME = Bound(" 秒", most=3.5)
NONE = Bound(" 个", most=0)
POOL = 25  # 出厂的连接池
LATENCY = 0.2  # 秒，每个方向
HEALTHY = Bound(" 毫秒", under=100)
LEAN = Bound(" MB", under=50)
CLOSED = Bound(" 秒", most=15)
MIB = 1024 * 1024
SLEEPING = """
create function checklist_sleep() returns trigger language plpgsql as
$$ begin perform pg_sleep(10); return new; end $$
"""
ASLEEP = "create trigger checklist_sleep before insert on tb_outbox for each row execute function checklist_sleep()"


class Asked:
    """问过的：状态与秒数；一个字也没有答的，状态是 0。"""

    def __init__(self, client: aiohttp.ClientSession) -> None:
        self._client = client
        self.statuses: Counter[int] = Counter()
        self.seconds: list[float] = []

    async def ask(self, method: str, path: str, body: Any = None) -> int:
        since = time.perf_counter()
        try:
            async with self._client.request(method, path, json=body) as answer:
                await answer.read()
                status = answer.status
        except (aiohttp.ClientError, TimeoutError):
            status = 0
        self.seconds.append(time.perf_counter() - since)
        self.statuses[status] += 1
        return status

    async def several(self, count: int) -> None:
        """读的、写的、写业务行的，各 ``count`` 个，同时。"""
        calls: list[Awaitable[int]] = []
        for _ in range(count):
            calls += [self.ask("GET", USERS), self.ask("GET", "/api/v1/tasks"), self.ask("POST", EMAIL, MAIL)]
        await asyncio.gather(*calls)

    def other_than(self, *expected: int) -> int:
        return self.statuses.total() - sum(self.statuses[status] for status in expected)


@asynccontextmanager
async def asking(laboratory: Laboratory, token: str, **extra: str) -> AsyncIterator[tuple[Target, Callable[[], Asked]]]:
    """一个 API 进程，和开一本新账的办法。"""
    async with attacked(laboratory, token, ROOT, **extra) as target:
        headers = {"Authorization": f"Bearer {token}"}
        timeout, connector = aiohttp.ClientTimeout(total=PATIENCE), aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(
            local(target.port), headers=headers, timeout=timeout, connector=connector
        ) as client:
            yield target, lambda: Asked(client)


@asynccontextmanager
async def crooked(laboratory: Laboratory, token: str) -> AsyncIterator[tuple[Proxy, Proxy, Callable[[], Asked]]]:
    """同上，到两个服务器各经一个代理。"""
    urls = {"KAGUAN_DATABASE__URL": laboratory.database_url(), "KAGUAN_REDIS__URL": laboratory.redis_url}
    async with AsyncExitStack() as stack:
        database, redis = (Proxy(port_of(url)) for url in urls.values())
        for proxy in (database, redis):
            await proxy.start()
            stack.push_async_callback(proxy.stop)
        given = {
            name: through(url, proxy.target, proxy.port)
            for (name, url), proxy in zip(urls.items(), (database, redis), strict=True)
        }
        _, book = await stack.enter_async_context(asking(laboratory, token, **given))
        yield database, redis, book


async def whole_again(book: Callable[[], Asked]) -> bool:
    """池子没有坏：同时问满一整池，个个答得成。"""
    asked = book()
    await asyncio.gather(*(asked.ask("GET", USERS) for _ in range(POOL)))
    return asked.other_than(200) == 0


async def no_answer_from_postgresql(laboratory: Laboratory, token: str) -> list[Figure]:
    """21：语句睡过了头、后端被 SIGSTOP、线路成了黑洞。"""
    found: list[Figure] = []

    def told(what: str, asked: Asked, *expected: int) -> None:
        found.extend(
            [
                Figure(21, f"{what}：最久的应答（{asked.statuses.total()} 个）", max(asked.seconds), IN_TIME),
                Figure(21, f"{what}：不是 {'、'.join(map(str, expected))} 的", asked.other_than(*expected), NONE),
            ]
        )

    async with crooked(laboratory, token) as (database, _, book):
        await eventually(lambda: whole_again(book))
        await laboratory.execute(SLEEPING)
        await laboratory.execute(ASLEEP)
        asked = book()
        await asyncio.gather(*(asked.ask("POST", EMAIL, MAIL) for _ in range(POOL)))
        await laboratory.execute("drop trigger checklist_sleep on tb_outbox")
        told("pg_sleep(10)", asked, 503, 504)

        sessions = "select pid from pg_stat_activity where application_name = 'kaguan-api'"
        frozen = [pid for (pid,) in await laboratory.administer(sessions)]
        for pid in frozen:
            os.kill(pid, signal.SIGSTOP)
        asked = book()
        try:
            await asked.several(POOL // 3)
        finally:
            for pid in frozen:
                os.kill(pid, signal.SIGCONT)
        told("后端被 SIGSTOP", asked, 200, 202, 503, 504)

        database.blackhole()
        asked = book()
        await asked.several(POOL // 3)
        database.reset()
        database.heal()
        told("黑洞", asked, 503, 504)
        await eventually(lambda: whole_again(book))
        asked = book()
        await asyncio.gather(*(asked.ask("GET", USERS) for _ in range(POOL)))
        told("之后整池同时借", asked, 200)
    return found


async def flood_of_hashes(laboratory: Laboratory, token: str) -> list[Figure]:
    """29：五十个一起注册，十轮；旁边不停地问 /health。"""
    async with asking(laboratory, token) as (_, book):
        flood, beside = book(), book()
        over = asyncio.Event()

        async def probing() -> None:
            while not over.is_set():
                await beside.ask("GET", "/health")
                await asyncio.sleep(0.01)  # 再密就成了压测

        probe = asyncio.create_task(probing())
        for wave in range(10):
            users = [
                {"username": f"u{wave}x{n}", "email": f"u{wave}x{n}@example.com", "password": "correct horse"}
                for n in range(50)
            ]
            await asyncio.gather(*(flood.ask("POST", USERS, user) for user in users))
        over.set()
        await probe
    worst = percentile(beside.seconds, 0.99) * 1_000
    return [
        Figure(29, f"/health p99（{len(beside.seconds)} 次，同时 50 个注册 × 10 轮）", worst, HEALTHY),
        Figure(29, "/health 不是 200 的", beside.other_than(200), NONE),
        Figure(29, "注册不是 201、429、503 的", flood.other_than(201, 429, 503), NONE),
        Figure(29, "注册被 429、503 挡回的", flood.statuses[429] + flood.statuses[503], Bound(" 个", least=1)),
    ]


async def crooked_lines(laboratory: Laboratory, token: str) -> list[Figure]:
    """44：每个方向迟 200 毫秒；一再 RST；连接半开（再也没有回音）。"""
    async with crooked(laboratory, token) as (database, redis, book):
        await eventually(lambda: whole_again(book))
        for proxy in (database, redis):
            proxy.delay = LATENCY
        late = book()
        for _ in range(25):
            await asyncio.gather(*(late.ask("POST", EMAIL, MAIL) for _ in range(8)))
        for proxy in (database, redis):
            proxy.heal()
        reset = book()
        for number in range(60):
            if number % 3 == 0:
                database.reset()
            if number % 5 == 0:
                redis.reset()
            await reset.ask("POST", EMAIL, MAIL)
        await eventually(lambda: whole_again(book))
        database.mute()
        redis.mute()
        mute = book()
        await mute.several(POOL // 3)
        await eventually(lambda: whole_again(book))
    expected = (200, 202, 503, 504)
    return [
        Figure(44, f"迟 200 毫秒：p99（{len(late.seconds)} 个）", percentile(late.seconds, 0.99), IN_TIME),
        Figure(44, "迟 200 毫秒：没有受理的", late.other_than(202), NONE),
        Figure(44, f"RST：最久的应答（{len(reset.seconds)} 个）", max(reset.seconds), IN_TIME),
        Figure(44, f"半开：最久的应答（{len(mute.seconds)} 个）", max(mute.seconds), IN_TIME),
        Figure(44, "RST、半开：答得不对的", reset.other_than(*expected) + mute.other_than(*expected), NONE),
    ]


async def exhausted_pool(laboratory: Laboratory, token: str) -> list[Figure]:
    """46：池里只有一条连接，别人锁着它要的表。"""
    one = {"KAGUAN_DATABASE__POOL_MIN": "1", "KAGUAN_DATABASE__POOL_MAX": "1"}
    async with asking(laboratory, token, **one) as (_, book):
        await eventually(lambda: whole_again(book))
        held = book()
        async with await psycopg.AsyncConnection.connect(laboratory.database_url()) as holder:
            await holder.execute("lock table tb_user, tb_task in access exclusive mode")
            await held.several(10)
        after = book()
        await after.several(10)
    return [
        Figure(46, f"用尽时最久的应答（{len(held.seconds)} 个）", max(held.seconds), IN_TIME),
        Figure(46, "用尽时不是 503、504 的", held.other_than(503, 504), NONE),
        Figure(46, f"松手之后，一条连接：没有答成的（{len(after.seconds)} 个同时）", after.other_than(200, 202), NONE),
    ]


async def slow_clients(laboratory: Laboratory, token: str) -> list[Figure]:
    """47：头、体一秒一个字节，应答一个字节也不收；旁人照常。"""
    head = f"POST {EMAIL} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n"
    async with asking(laboratory, token) as (target, book):
        waits = {
            "慢慢说的头": dripping(target, head.encode(), b"X"),
            "慢慢说的体": dripping(target, f"{head}Content-Length: 1000\r\n\r\n".encode(), b" "),
            "不收应答的": deaf(target),
        }
        beside, over = book(), asyncio.Event()

        async def others() -> None:
            while not over.is_set():
                await beside.ask("GET", USERS)
                await asyncio.sleep(0.1)  # 旁人只是看看

        watching = asyncio.create_task(others())
        seconds = await asyncio.gather(*waits.values())
        over.set()
        await watching
    return [
        *(Figure(47, f"{what}：多久断开", one, CLOSED) for what, one in zip(waits, seconds, strict=True)),
        Figure(47, f"旁人没有答成的（{len(beside.seconds)} 个）", beside.other_than(200), NONE),
    ]


async def dripping(target: Target, opening: bytes, drop: bytes) -> float:
    """说了 ``opening``，之后一秒一个字节，直到对方断开；返回秒数。"""
    reader, writer = await asyncio.open_connection(target.host, target.port)
    since = time.perf_counter()
    closed = asyncio.create_task(reader.read())
    writer.write(opening)
    while not closed.done() and time.perf_counter() - since < PATIENCE:
        await asyncio.wait({closed}, timeout=1)
        writer.write(drop)
    writer.transport.abort()
    await asyncio.gather(closed, return_exceptions=True)
    return time.perf_counter() - since


async def deaf(target: Target) -> float:
    """要了几十兆的应答，一个字节也不收；返回多久之后被断开。"""
    _, writer = await asyncio.open_connection(target.host, target.port, limit=4_096)
    writer.write(b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n" * 400)
    since = time.perf_counter()
    transport = writer.transport
    while not transport.is_closing() and time.perf_counter() - since < PATIENCE:
        await asyncio.sleep(0.1)  # 只看它还连着没有
        writer.write(b"x")
    waited = time.perf_counter() - since
    transport.abort()
    return waited


async def bombs(laboratory: Laboratory, token: str) -> list[Figure]:
    """48：压缩炸弹、分块炸弹；常驻内存在其间最高涨到多少。"""
    found: list[Figure] = []
    async with asking(laboratory, token) as (target, book):
        await book().several(20)
        packed = {"Content-Encoding": "gzip"}
        bomb = Attempt(
            "gzip",
            partial(gzip.compress, bytes(512 * MIB), 1),
            EMAIL,
            content_type="application/json",
            authenticated=True,
            headers=packed,
        )
        before = at_rest(target.pid)
        measured = await measure(bomb, target, PATIENCE)
        found += grown("512 MB 压成的 gzip", measured.statuses[0], resident(target.pid)[1] - before)
        before = at_rest(target.pid)
        found += grown("没有长度的 64 MB 分块", await in_chunks(target, 64), resident(target.pid)[1] - before)
    return found


def at_rest(pid: int) -> int:
    """眼下的常驻内存，MB；最高的从此重新记（proc_pid_clear_refs(5)）。"""
    Path(f"/proc/{pid}/clear_refs").write_text("5", "ascii")
    return resident(pid)[0]


def grown(what: str, status: int, megabytes: float) -> list[Figure]:
    return [
        Figure(48, f"{what}：常驻内存最高多出", megabytes, LEAN),
        Figure(48, f"{what}：应答不是 413 的", int(status != 413), NONE),
    ]


async def in_chunks(target: Target, megabytes: int) -> int:
    """分块地发，答了就停；返回状态。"""
    reader, writer = await asyncio.open_connection(target.host, target.port)
    writer.write(
        f"POST {EMAIL} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {target.token}\r\n"
        "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    )
    answer = asyncio.create_task(reader.readline())
    for _ in range(megabytes):
        if answer.done():
            break
        writer.write(f"{MIB:x}\r\n".encode() + b" " * MIB + b"\r\n")
        await asyncio.wait({asyncio.create_task(writer.drain()), answer}, return_when=asyncio.FIRST_COMPLETED)
    status = int((await answer).split()[1])
    writer.transport.abort()
    return status
