"""Redis 说谎：每个用到的键，一个接一个，写进看不懂的、极大的、从前的、将来的值与不对的类型；旁边一直有任务。

键的清单是 :data:`kaguan.queues.keys.KINDS`；跑着的栈里出现了清单之外的键，也是毛病。
"""

from __future__ import annotations

import asyncio
import http.client
import re
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias
from urllib.parse import urlencode, urlsplit

from redis.asyncio import Redis

from kaguan.mail.task import EMAIL_SEND
from kaguan.outbox.vocabulary import Priority
from kaguan.queues import keys
from tests.e2e.stack import RunningStack, kaguan
from tests.support.eventually import PACE, PATIENCE, eventually

Value: TypeAlias = "bytes | dict[str, bytes] | dict[str, float] | list[bytes] | set[bytes]"

BACK_WITHIN = 15.0 * PACE  # 秒；谎言没了之后，至多这么久又做得完各个队列的任务
HUGE = b"9" * 1_000_000
TIME = "9999-12-31T23:59:59+00:00"
STRANGE = b"\xff\x00{[garbage"
# 类型 → 各样的值
VALUES: dict[str, dict[str, Value]] = {
    "string": {
        "garbage": STRANGE,
        "empty": b"",
        "huge": HUGE,
        "negative": b"-1",
        "not a number": b"nan",
        "past": b"1970-01-01T00:00:00+00:00",
        "future": TIME.encode(),
        "nested": b"[" * 100_000,
    },
    "hash": {"garbage": {"evil": STRANGE}, "huge": {"evil": HUGE}, "control characters": {"evil\x1b[2J": b"{}"}},
    "zset": {
        "garbage": {"\x1b[2J": 5.0},
        "future": {"evil": 4e15},
        "for ever": {"evil": float("inf")},
        "before everything": {"evil": float("-inf")},
    },
    "list": {"garbage": [STRANGE], "huge": [HUGE], "many": [b"saq:job:default:none"] * 2_000, "future": [b"4e15"]},
    "set": {"garbage": {STRANGE, b"kaguan:epoch"}},
}
STREAM = "stream"
# 眼下没有那样一个键时，造一个：``{}`` 各填什么
MADE_UP = {"saq": ("default", "evil"), keys.PACE: (EMAIL_SEND.name,), keys.CARRIER_LEASES: ("onelink",)}


@dataclass(frozen=True, slots=True)
class Lie:
    """``family`` 是键的样子，``kind`` 是写成的类型，``name`` 说是哪样的值。"""

    family: str
    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.family} {self.kind} {self.name}"


def all_lies() -> Iterator[Lie]:
    for family in keys.KINDS:
        for kind, values in VALUES.items():
            for name in values:
                yield Lie(family, kind, name)
        yield Lie(family, STREAM, "garbage")


def few_lies() -> Iterator[list[Lie]]:
    """每个键两个：类型对而看不懂，类型不对。几个键一起说；SAQ 的一说，什么也送不到，与别的分开。"""
    saq = [family for family in keys.KINDS if family.startswith("saq:")]
    ours = [family for family in keys.KINDS if family not in saq]
    for families in (*(ours[turn::3] for turn in range(3)), *(saq[turn::4] for turn in range(4))):
        yield [Lie(family, keys.KINDS[family], "garbage") for family in families]
        yield [Lie(family, another(family), "garbage") for family in families]


def another(family: str) -> str:
    """它没有的一个类型，各个键轮着来。"""
    others = [kind for kind in (*VALUES, STREAM) if kind != keys.KINDS[family]]
    return others[list(keys.KINDS).index(family) % len(others)]


def pattern(family: str) -> re.Pattern[str]:
    return re.compile(".+".join(map(re.escape, family.split("{}"))))


@dataclass(slots=True)
class Person:
    """开着控制台的人。"""

    stack: RunningStack
    cookie: str = ""

    def log_in(self) -> None:
        form = urlencode({"token": self.stack.token, "next": "/"})
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Origin": self.stack.url}
        _, found = self._ask("POST", "/console/login", form, headers | {"Sec-Fetch-Site": "same-origin"})
        self.cookie = found["Set-Cookie"].partition(";")[0]

    def looks(self) -> int:
        """控制台的首页答什么。"""
        return self._ask("GET", "/", None, {"Cookie": self.cookie, "Accept": "text/html"})[0]

    def _ask(
        self, method: str, path: str, body: str | None, headers: dict[str, str]
    ) -> tuple[int, http.client.HTTPMessage]:
        where = urlsplit(self.stack.url)
        connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=PATIENCE)
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            answer.read()
            return answer.status, answer.headers
        finally:
            connection.close()


@dataclass(slots=True)
class Campaign:
    """一套真的栈上的一场。

    Attributes:
        hold: 一个谎言至少留这么久，秒：各循环都碰得上。
        examined: 键的样子，在其中的也问 `kaguan doctor`。
        faults: 毛病，一条一句。
        slowest: 谎言没了之后又做得完各个队列的任务，最久的一次，秒；``slowest_lie`` 是哪一个。
    """

    stack: RunningStack
    redis: Redis
    hold: float
    examined: Collection[str]
    faults: list[str] = field(default_factory=list)
    slowest: float = 0.0
    slowest_lie: str = ""
    _accepted: list[str] = field(default_factory=list)
    _kept: dict[str, str] = field(default_factory=dict)  # 任务 → 该一直是什么状态

    async def run(self, lies: Iterable[Sequence[Lie]]) -> None:
        """一起说的几个，各是一个键的。"""
        person = Person(self.stack)
        await asyncio.to_thread(person.log_in)
        await self._keep()
        await self._back("before any lie")
        for together in lies:
            await self._tell(together, person)
        await eventually(self._all_done)
        await self._check_kept()
        await self._check_known()

    async def _tell(self, lies: Sequence[Lie], person: Person) -> None:
        """写下，看一圈，让任务碰上，撤掉，等又做得完。"""
        await self._submit()
        told = {await self._key(lie.family): lie for lie in lies}
        for key, lie in told.items():
            await self._write(key, lie)
        await self._submit()
        said = "; ".join(map(str, lies))
        examined = any(lie.family in self.examined for lie in lies)
        await asyncio.gather(self._look(said, person, examined=examined), asyncio.sleep(self.hold))
        for key, lie in told.items():
            if await self.redis.type(key) in {lie.kind.encode(), b"none"}:  # 已换成自己的，不去动它
                await self.redis.delete(key)
            if lie.family == keys.BREAKER:
                await self.redis.srem(keys.BREAKERS, key)  # type: ignore[misc] # redis-py 把同步与异步的标注混在一起
        await self._back(said)

    async def _look(self, lie: str, person: Person, *, examined: bool) -> None:
        """一时没有问到的再问：一直瞎着才是毛病。"""

        async def healthy() -> bool:
            _, body = await self._ask("GET", "/health")
            return body is not None and body["code"] in {0, 2001, 2002, 2003}

        async def at_home() -> bool:
            return await asyncio.to_thread(person.looks) == http.client.OK

        for name, seen in (("/health", healthy), ("console", at_home)):
            try:
                await eventually(seen)
            except AssertionError as blind:
                self.faults.append(f"{lie}: {name} {blind}")
        if examined:
            told = await asyncio.to_thread(kaguan, "doctor", "--json", data=self.stack.data)
            if not told.stdout.startswith("["):
                self.faults.append(f"{lie}: doctor {told.returncode} {told.stderr[-300:]}")

    async def _back(self, lie: str) -> None:
        """又做得完：各个队列各一个。"""
        began = time.monotonic()
        await eventually(self._is_ready)
        tasks = [await self._submit(priority=str(queue)) for queue in Priority]

        async def done() -> bool:
            return {await self._status(task_id) for task_id in tasks} == {"succeeded"}

        await eventually(done)
        took = time.monotonic() - began
        if took > self.slowest:
            self.slowest, self.slowest_lie = took, lie

    async def _keep(self) -> None:
        """排到明天的，与取消了的：到最后都还是那样。"""
        for status in ("pending", "cancelled"):
            task_id = await self._submit(schedule_at=(datetime.now(UTC) + timedelta(days=1)).isoformat())
            self._accepted.remove(task_id)
            self._kept[task_id] = status

        async def is_cancelled() -> bool:
            return (await self._ask("POST", f"/api/v1/tasks/{task_id}/cancel"))[0] == http.client.OK

        await eventually(is_cancelled)

    async def _check_kept(self) -> None:
        for task_id, status in self._kept.items():
            found = await self._status(task_id)
            if found != status:
                self.faults.append(f"{status} -> {found}")

    async def _check_known(self) -> None:
        """跑着的栈里的键，都有样子。"""
        patterns = [pattern(family) for family in keys.KINDS]
        found = {key.decode("utf-8", "replace") async for key in self.redis.scan_iter(count=1_000)}
        strange = sorted(key for key in found if not any(one.fullmatch(key) for one in patterns))
        self.faults += [f"not in KINDS: {key}" for key in strange[:10]]

    async def _all_done(self) -> bool:
        open_now = [task_id for task_id in self._accepted if await self._status(task_id) != "succeeded"]
        self._accepted = open_now
        return not open_now

    async def _submit(self, **more: Any) -> str:
        """一直提交到受理：限速说了谎，也只是晚一点。"""
        mail = {"to": ["a@example.com"], "subject": "s", "body": "b", **more}

        async def accepted() -> str | None:
            status, body = await self._ask("POST", "/api/v1/tasks/email", mail)
            return body["data"]["task_id"] if status == http.client.ACCEPTED else None

        task_id = await eventually(accepted)
        assert task_id is not None
        self._accepted.append(task_id)
        return task_id

    async def _status(self, task_id: str) -> str:
        _, body = await self._ask("GET", f"/api/v1/tasks/{task_id}")
        return "" if body is None or body["data"] is None else str(body["data"].get("status", ""))

    async def _is_ready(self) -> bool:
        return await asyncio.to_thread(self.stack.ready)

    async def _ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        return await asyncio.to_thread(self.stack.request, method, path, body)

    async def _key(self, family: str) -> str:
        """眼下有的一个；没有就造一个。"""
        wanted = pattern(family)
        async for key in self.redis.scan_iter(match=family.replace("{}", "*"), count=1_000):
            if wanted.fullmatch(key.decode("utf-8", "replace")):
                return str(key.decode())
        fill = MADE_UP.get(family) or MADE_UP["saq" if family.startswith("saq") else keys.PACE]
        return family.format(*(fill * 3)[: family.count("{}")])

    async def _write(self, key: str, lie: Lie) -> None:
        async with self.redis.pipeline(transaction=True) as pipe:
            pipe.delete(key)
            if lie.kind == STREAM:
                pipe.xadd(key, {"evil": STRANGE})
            else:
                value: Any = VALUES[lie.kind][lie.name]
                match lie.kind:
                    case "string":
                        pipe.set(key, value)
                    case "hash":
                        pipe.hset(key, mapping=value)
                    case "zset":
                        pipe.zadd(key, value)
                    case "list":
                        pipe.rpush(key, *value)
                    case _:
                        pipe.sadd(key, *value)
            if lie.family == keys.BREAKER:
                pipe.sadd(keys.BREAKERS, key)
            if lie.family == keys.PRESENCE_CARDS and lie.kind == "hash":  # 名片有心跳才看得见
                pipe.zadd(keys.PRESENCE_BEATS, {str(name): time.time() * 1000 for name in VALUES["hash"][lie.name]})
            await pipe.execute()
