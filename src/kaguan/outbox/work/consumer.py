"""取件：一个进程三个 SAQ Worker，共用进程的槽位；信号、停机由我们自己管（docs/GUARANTEES.md）。"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError
from saq.worker import Worker

from kaguan.config.model import Worker as WorkerConfig
from kaguan.flow.background import stopped
from kaguan.outbox.vocabulary import Priority
from kaguan.outbox.work.execution import Execution
from kaguan.outbox.work.intake import Intake
from kaguan.words.log import get_logger
from kaguan.words.units import DAY, MINUTE

log = get_logger(__name__)

# SAQ 的上游任务，单位秒；sweep 与 abort 什么也不做，别来
TIMERS = {"schedule": MINUTE, "worker_info": 20, "sweep": DAY, "abort": DAY}
DEQUEUE_TIMEOUT = 1.0  # 秒：停机时正在取的最多再等这么久
HARD_DEADLINE = 5.0  # 秒：被取消的处理器最多再拖这么久


class QuietWorker(Worker[Any]):
    """不碰信号、不理 SAQ 的中止的 Worker。

    SIGTERM 只会传到最后启动的那个（docs/GUARANTEES.md），所以由进程统一处理。
    """

    SIGNALS: list[Any] = []  # noqa: RUF012 父类如此声明

    _upkeep: tuple[asyncio.Task[None], ...] = ()

    async def upkeep(self) -> list[asyncio.Task[None]]:
        """记住上游的打扫任务：它们在长睡，停机时不必等醒。"""
        tasks = await super().upkeep()
        self._upkeep = tuple(tasks)
        return tasks

    async def abort(self, abort_threshold: float) -> None:
        """SAQ 的中止来自清扫，清扫按各机器自己的钟：快一小时的 worker 会中止别人正常的任务。取消只听 PostgreSQL 的。"""

    async def schedule(self, lock: int = 1) -> None:
        """Redis 不在时安静：取件那头已说过一次，上游任务不必每秒一份堆栈。"""
        with suppress(RedisError):
            await super().schedule(lock)

    async def worker_info(self, ttl: int = 60) -> Any:
        """同上。"""
        with suppress(RedisError):
            return await super().worker_info(ttl)

    async def stop(self) -> None:
        """不再取新的，等正在做的做完（至多 grace 秒）。"""
        self.event.set()
        if isinstance(self.queue, Intake):
            self.queue.close()
        await stopped(*self._upkeep)
        await super().stop()


class _Functions(dict[str, Any]):
    """不论什么名字都是同一个函数：没有处理器的类型也要认领了才交还得成，SAQ 自己只会当它做完。"""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self._function = function

    def __missing__(self, name: str) -> Any:
        return self._function


@dataclass(frozen=True, slots=True)
class Consumer:
    """从三个队列取件，不论什么类型都交给 ``execution``；``outside`` 是让出了槽位、还在手里的，至多几个。"""

    redis: Redis
    execution: Execution
    config: WorkerConfig
    outside: int = 0

    async def run(self, stop: asyncio.Event) -> None:
        """取件直到 ``stop``；然后不再取新的，让正在做的做完（至多 ``shutdown_grace`` 秒）。

        Raises:
            Exception: 取件自己出了错。
        """
        workers = [self.taker(priority) for priority in Priority]
        running = [asyncio.create_task(worker.start(), name=f"saq-{worker.queue.name}") for worker in workers]
        stopped = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({stopped, *running}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopped.cancel()
            log.info("停止取件，等待正在执行的任务", grace_s=self.config.shutdown_grace)
            await asyncio.gather(*(worker.stop() for worker in workers))
            results = await asyncio.gather(*running, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception):
                raise result

    def taker(self, priority: Priority, dequeue_timeout: float = DEQUEUE_TIMEOUT) -> QuietWorker:
        """从一个队列取件的 SAQ Worker，还没启动。``dequeue_timeout`` 单位秒。"""
        worker = QuietWorker(
            Intake(self.redis, priority, self.execution.slots),
            [],
            # 同时在手里的投递，连同在结算的、在等外面的；真正的限制在槽位与名额
            concurrency=2 * self.config.concurrency + self.outside,
            timers=TIMERS,  # type: ignore[arg-type] # SAQ 的类型是带可选键的 TypedDict
            dequeue_timeout=dequeue_timeout,
            shutdown_grace_period_s=int(self.config.shutdown_grace),
            cancellation_hard_deadline_s=HARD_DEADLINE,
        )
        worker.functions = _Functions(self.execution.__call__)
        return worker
