"""在跑的任务停在哪一行：问的人把话写进 Redis，手里有它的 worker 看见了就答；只看，什么也不改。

帧里只有文件、行号、函数、那一行源码，没有值。问的与答的都经 Redis，别人也写得了：答的只当作那个 worker 说的，
长短有界；问的至多让 worker 多写一个半分钟就没了的键。
"""

from __future__ import annotations

import asyncio
import gc
import linecache
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from types import AsyncGeneratorType, CodeType, CoroutineType, FrameType, GeneratorType
from typing import Annotated, Any
from uuid import UUID, uuid4

from psycopg import AsyncConnection, AsyncCursor
from pydantic import BaseModel, Field
from redis.asyncio import Redis
from redis.exceptions import RedisError

from kaguan.flow.background import in_background
from kaguan.flow.backoff import about
from kaguan.queues.believing import Count, Word, believed, refused
from kaguan.queues.keys import PRESENCE_ASKED, PRESENCE_STACK, key
from kaguan.words.log import get_logger

log = get_logger(__name__)

INTERVAL = 0.3  # 秒：手里有任务的 worker 多久看一眼有没有人问
PATIENCE = 2.0  # 秒：等回答；请求自己的时限是三秒
LOOK = 0.1  # 秒：问的人多久看一眼答了没有
AGAIN = 0.5  # 秒：没有答的再问一遍：同时有别人也在问这个 worker
KEPT_ASKED, KEPT_TOLD = 5_000, 30_000  # 毫秒
MOST_FRAMES, MOST_SESSIONS = 40, 5
LONGEST_ASKED, LONGEST_TOLD = 200, 64 * 1024  # 字节
WIDE = 160  # 字：一行源码至多这么长
OURS = "kaguan/outbox/work/execution.py"  # 处理器外面的流水线，人人都一样


class Frame(BaseModel, strict=True):
    """一帧，外层的在前。"""

    file: Word
    line: Count
    function: Word
    source: Word


class Stack(BaseModel, strict=True):
    """worker 说的；手里没有这个任务，就一帧也没有。

    Attributes:
        sessions: 处理器手里的数据库连接，PostgreSQL 那一头的进程号。
    """

    frames: Annotated[list[Frame], Field(max_length=MOST_FRAMES)]
    sessions: Annotated[list[Count], Field(max_length=MOST_SESSIONS)]


class _Asked(BaseModel):
    nonce: UUID
    task_id: UUID


async def ask(redis: Redis, worker: str, task_id: UUID, patience: float = PATIENCE) -> Stack | None:
    """问 ``worker`` 这个任务停在哪里；没有答（冻住了、没了、Redis 不在）就是 None。"""
    asked = _Asked(nonce=uuid4(), task_id=task_id)
    try:
        async with asyncio.timeout(patience) as limit:
            while not limit.expired():  # 时限的取消会被 redis-py 吞掉，只此一次
                await redis.set(key(redis, PRESENCE_ASKED, worker), asked.model_dump_json(), px=KEPT_ASKED)
                for _ in range(round(AGAIN / LOOK)):
                    told = await redis.getrange(key(redis, PRESENCE_STACK, asked.nonce), 0, LONGEST_TOLD)
                    if told:
                        return believed(redis, PRESENCE_STACK, partial(Stack.model_validate_json, told))
                    await asyncio.sleep(about(LOOK))  # 还没答，隔一会儿再看，总时限在外面
    except (TimeoutError, RedisError, OSError) as error:
        log.debug("没有问到调用栈", worker=worker, error=type(error).__name__)
    return None


@dataclass(slots=True)
class Answering:
    """worker 的一头。``busy``：手里有没有任务，没有就不看。"""

    redis: Redis
    worker: str
    busy: Callable[[], bool]

    async def run_once(self) -> int:
        """看一眼；返回答了几个。

        Raises:
            RedisError: Redis 不在。
        """
        if not self.busy():
            return 0
        place = key(self.redis, PRESENCE_ASKED, self.worker)
        async with self.redis.pipeline(transaction=False) as pipe:
            pipe.getrange(place, 0, LONGEST_ASKED)
            pipe.delete(place)
            found, _ = await pipe.execute(raise_on_error=False)
        if isinstance(found, Exception):
            refused(self.redis, PRESENCE_ASKED, type(found).__name__)
            return 0
        asked = believed(self.redis, PRESENCE_ASKED, lambda: _Asked.model_validate_json(found)) if found else None
        if asked is None:
            return 0
        told = stack_of(asked.task_id).model_dump_json()
        await self.redis.set(key(self.redis, PRESENCE_STACK, asked.nonce), told, px=KEPT_TOLD)
        return 1

    @asynccontextmanager
    async def answering(self) -> AsyncIterator[None]:
        """进入即有问必答，离开即停。"""
        async with in_background(self._run(), "stacks"):
            yield

    async def _run(self) -> None:
        while True:
            try:
                await self.run_once()
            except (RedisError, OSError) as error:
                log.debug("没有看成有没有人问", error=type(error).__name__)
            except Exception:  # 它一停，从此没有人答：说一声，下一遍再来
                log.exception("答调用栈意外出错，下一遍再来")
            await asyncio.sleep(about(INTERVAL))  # 定时看有没有人问，带抖动


def stack_of(task_id: UUID) -> Stack:
    """本进程里做着它的那个 asyncio 任务，停在哪里；执行它的以它的号为名。"""
    name = str(task_id)
    found = next((task for task in asyncio.all_tasks() if task.get_name() == name), None)
    frames = [] if found is None else list(_frames(found.get_coro()))
    told = [_frame(frame.f_code, frame.f_lineno) for frame in frames[:MOST_FRAMES]]
    inside = next((number for number, one in enumerate(told) if one.file != OURS), 0)
    sessions = dict.fromkeys(pid for frame in frames for pid in _sessions(frame))
    return Stack(frames=told[inside:], sessions=list(sessions)[:MOST_SESSIONS])


def _frames(awaited: object) -> Iterator[FrameType]:
    """从外到里，一层等着一层。"""
    for _ in range(MOST_FRAMES):
        match awaited:
            case CoroutineType():
                frame, awaited = awaited.cr_frame, awaited.cr_await
            case GeneratorType():
                frame, awaited = awaited.gi_frame, awaited.gi_yieldfrom
            case AsyncGeneratorType():
                frame, awaited = awaited.ag_frame, awaited.ag_await
            case _:
                frame, awaited = None, _behind(awaited)
        if frame is not None:
            yield frame
        elif awaited is None:
            return


def _behind(awaited: object) -> object:
    """C 写的等待（``anext()``、等另一个任务）不说自己在等谁，问垃圾回收器它拿着谁。"""
    for one in gc.get_referents(awaited):
        if isinstance(one, AsyncGeneratorType | CoroutineType):
            return one
        if isinstance(one, asyncio.Task):
            return one.get_coro()
    return None


def _frame(code: CodeType, line: int) -> Frame:
    source = linecache.getline(code.co_filename, line).strip()[:WIDE]
    return Frame(
        file=_printable(_short(code.co_filename)),
        line=line,
        function=_printable(code.co_qualname),
        source=_printable(source),
    )


def _short(path: str) -> str:
    """从导入的根算起。"""
    roots = sorted((root for root in sys.path if root and path.startswith(f"{root}/")), key=len)
    return path[len(roots[-1]) + 1 :] if roots else path


def _printable(text: str) -> str:
    shown = "".join(letter if letter.isprintable() else " " for letter in text)
    return shown[:WIDE]


def _sessions(frame: FrameType) -> Iterator[int]:
    """这一帧手里的连接；只认类型，别的值一概不看。"""
    for value in frame.f_locals.values():
        connection: Any = value.connection if isinstance(value, AsyncCursor) else value
        if isinstance(connection, AsyncConnection) and not connection.closed:
            yield connection.info.backend_pid
