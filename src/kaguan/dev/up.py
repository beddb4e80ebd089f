"""`kaguan up`：在一台机器上带起整套系统，一份日志，Ctrl-C 反序停下。"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
import signal
import sys
import time
from pathlib import Path
from typing import TextIO, cast

import psycopg

from kaguan.config import ConfigurationError, Process, canonical, load_settings
from kaguan.config.model import Logging
from kaguan.config.production import DATABASE_URL
from kaguan.database.migrate import UnreleasedError, status, upgrade
from kaguan.dev.banner import banner
from kaguan.dev.dev_token import ensure_dev_token
from kaguan.dev.directory import DataDirectory
from kaguan.dev.output import Output
from kaguan.dev.program import PortTakenError, StartError
from kaguan.dev.stack import Stack
from kaguan.dev.supervisor import Supervisor
from kaguan.logging.setup import configure_logging
from kaguan.product.checking import check_settings
from kaguan.product.exit_codes import ExitCode
from kaguan.words.log import get_logger
from kaguan.words.spoken import said

log = get_logger(__name__)

EXTRA = "aiosmtpd"
PLANS = 5  # 起步时至多挑这么多次端口
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run_up() -> ExitCode:
    """运行到收到停止信号；起不来是 ``FAILURE``。"""
    started = time.monotonic()
    try:
        _require_extra()
        check_settings(load_settings(process=Process.WORKER))  # 先查配置，再动磁盘；worker 要的最多
        given = canonical(os.environ)
        data = DataDirectory(Path(given.get("KAGUAN_DATA_DIR", ".kaguan")).absolute())
        output = Output()
        with data.locked(), _logging(data, output):
            killed = data.env.exists()  # 自己停下的会删掉它
            data.env.unlink(missing_ok=True)  # 上次写的地址不作数
            stack = Stack(data, load_settings(), given)
            return asyncio.run(_Up(stack, output, started, previous_killed=killed).run())
    except ConfigurationError as error:
        sys.stderr.write(f"{error}\n")
        return ExitCode.USAGE
    except StartError as error:
        sys.stderr.write(f"{said('dev.failed', error=error)}\n")
        return ExitCode.FAILURE


def _require_extra() -> None:
    """随 ``local`` 一组装的；数据库与队列可以用现成的，所以等用到才查（``kaguan.dev.binaries``）。"""
    if importlib.util.find_spec(EXTRA) is None:
        raise StartError(said("dev.no_extra", name=EXTRA))


def _logging(data: DataDirectory, output: Output) -> contextlib.ExitStack:
    """监督者自己的话与子进程的输出并在一起，也进 ``logs/app.log``。"""
    with contextlib.redirect_stderr(cast("TextIO", output)):
        return configure_logging(Logging(format="console", directory=data.logs), "up")


class _Up:
    def __init__(self, stack: Stack, output: Output, started: float, *, previous_killed: bool) -> None:
        self._stack = stack
        self._previous_killed = previous_killed  # 上一套没能自己收尾
        self._output = output
        self._started = started
        self._ready = False
        self._stop = asyncio.Event()
        self._supervisor = Supervisor(output, stack.data.pids)

    async def run(self) -> ExitCode:
        loop = asyncio.get_running_loop()
        for number in STOP_SIGNALS:
            loop.add_signal_handler(number, self._on_signal, number)
        living = asyncio.create_task(self._live())
        stopping = asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait({living, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if living.done():
                await living
            if not self._ready:
                log.info("启动未完成就收到停止信号")
        finally:
            for task in (living, stopping):
                task.cancel()
            await asyncio.wait({living, stopping})
            await self._supervisor.stop()
            self._stack.ports.claims.release()
            self._stack.data.env.unlink(missing_ok=True)
        log.info("全部停止")
        return ExitCode.OK

    async def _live(self) -> None:
        """起来，直到有端口被别的程序占去；全部停下，另挑端口再来。

        Raises:
            StartError: 起不来。
        """
        lost = 0
        while lost < PLANS:
            try:
                await self._start()
                lost = 0
                await self._supervisor.port_taken.wait()
            except PortTakenError as error:
                lost += 1
                log.warning("%s 的端口被别的程序抢先占去", error.program, port=error.port)
            log.warning("全部停下，另挑端口再来")
            self._ready = False
            await self._supervisor.stop()
            self._supervisor = Supervisor(self._output, self._stack.data.pids)
            self._stack.values.clear()
        raise StartError(said("dev.ports_lost", count=PLANS))

    def _on_signal(self, number: signal.Signals) -> None:
        if self._stop.is_set():
            log.warning("再次收到停止信号，强行结束")
            self._supervisor.kill()
            return
        log.info("收到停止信号，按相反次序停止；再按一次 Ctrl-C 强行结束", signal=number.name)
        self._stop.set()

    async def _start(self) -> None:
        stack = self._stack
        await stack.ports.check_named(previous_killed=self._previous_killed)
        await self._supervisor.start(await stack.servers())
        database_url = stack.values[DATABASE_URL]
        try:
            _migrate(database_url)
            token = await ensure_dev_token(database_url, stack.data.dev_token)
        except psycopg.Error as error:
            raise StartError(said("dev.migration", error=str(error).splitlines()[0], key=DATABASE_URL)) from None
        except UnreleasedError as error:
            raise StartError(said("dev.unreleased", error=error, path=stack.data.path)) from None
        applications = stack.applications()
        stack.data.write_env(stack.values)
        await self._supervisor.start(applications)
        sys.stdout.write(banner(stack, token, time.monotonic() - self._started))
        sys.stdout.flush()
        self._ready = True


def _migrate(database_url: str) -> None:
    before = status(database_url)
    if not before.up_to_date:
        upgrade(database_url)
        log.info("数据库已迁移", before=before.current, after=before.head)


if __name__ == "__main__":
    sys.exit(run_up())
