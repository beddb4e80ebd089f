"""进程的外壳：配置、日志、跟踪、信号、退出码。业务从传入的 ``main`` 开始。"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from contextlib import ExitStack

import uvloop

from kaguan.config import ConfigurationError, Process, Settings, load_settings, tolerated
from kaguan.database.pool import DatabaseUnavailableError
from kaguan.flow.background import in_background
from kaguan.logging.setup import configure_logging
from kaguan.outbox.schema import NotInstalledError
from kaguan.product.exit_codes import ExitCode
from kaguan.product.fitness import UnfitError, refuse_unfit
from kaguan.queues.client import QueueUnavailableError
from kaguan.telemetry.setup import configure_telemetry
from kaguan.words.log import get_logger

log = get_logger(__name__)

GC_YOUNG = 10_000  # 新增这么多对象看一次（默认 700，一个请求、一次投递就有几百个）
GC_GENERATIONS = 10
STOP_DEADLINE = 29.0  # 秒：停机再拖就强行退出（承诺的是至多 30 秒）


class ExitError(Exception):
    """进程要以这个退出码结束；为什么，已经记下。"""

    def __init__(self, code: ExitCode) -> None:
        super().__init__(code)
        self.code = code


def run_process(
    process: Process,
    main: Callable[[Settings, asyncio.Event], Awaitable[None]],
    check: Callable[[Settings], None] | None = None,
    deadline: float = STOP_DEADLINE,
) -> ExitCode:
    """跑一个进程直到 SIGINT/SIGTERM；返回退出码。

    ``check`` 查配置里要懂领域才查得出的错，以 :class:`ConfigurationError` 说明。停机 ``deadline`` 秒还没完就强行退出。
    """
    gc.freeze()
    gc.enable()  # 装载时关着的（``api`` 等包的开头）
    try:
        settings = load_settings(process=process)
        if check is not None:
            check(settings)
    except ConfigurationError as error:
        sys.stderr.write(f"{error}\n")
        return ExitCode.USAGE
    with ExitStack() as stack:
        stack.enter_context(configure_logging(settings.logging, process))
        try:
            stack.callback(configure_telemetry(settings.telemetry, process))
        except ConfigurationError as error:
            sys.stderr.write(f"{error}\n")
            return ExitCode.USAGE
        try:
            uvloop.run(_supervised(process, settings, main, deadline))
        except (DatabaseUnavailableError, QueueUnavailableError, UnfitError, NotInstalledError) as error:
            for line in str(error).splitlines():
                log.error(line)
            return ExitCode.DEPENDENCY
        except ConfigurationError as error:  # 连上了才用到的
            log.error(str(error))
            return ExitCode.USAGE
        except ExitError as error:
            return error.code
    return ExitCode.OK


def spare_the_collector() -> None:
    """零件都备齐了再叫：启动时建好的几十万个对象活到进程结束，不必一遍遍看；后来的几乎都随引用计数走，少看几次。"""
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_YOUNG, GC_GENERATIONS, GC_GENERATIONS)


async def _supervised(
    process: Process, settings: Settings, main: Callable[[Settings, asyncio.Event], Awaitable[None]], deadline: float
) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def ask(signal_name: str) -> None:
        if stop.is_set():
            return
        log.info("收到停止信号", process=process, signal=signal_name)
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ask, number.name)
    log.info("进程启动", process=process, env=settings.env)
    if settings.env.is_hardened and os.geteuid() == 0:
        log.warning("以 root 运行：攻进来的人就有了整台机器；请换成专用的用户（见 deploy/）", process=process)
    for weakness in tolerated(settings, os.environ, process):
        log.warning("配置放宽了安全规则", key=weakness.key, exemption=weakness.exemption, reason=weakness.problem)
    await refuse_unfit(settings, process)
    async with in_background(_watched(stop, deadline), "watchdog"):
        await main(settings, stop)
    log.info("进程停止", process=process)


async def _watched(stop: asyncio.Event, deadline: float) -> None:
    await stop.wait()
    asyncio.get_running_loop().call_later(deadline, _give_up, deadline)


def _give_up(deadline: float) -> None:
    """看门狗：有处理器不肯停。租约会收回它手里的任务。"""
    log.error("停机超时，强行退出", deadline_s=deadline)
    os._exit(ExitCode.STUCK)
