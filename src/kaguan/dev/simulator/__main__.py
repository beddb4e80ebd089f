"""``python -m kaguan.dev.simulator --port N``：就绪后在标准输出打印地址，SIGINT / SIGTERM 停止。

凭据取自 ``KAGUAN_CARRIERS__…``，与适配器同一份配置。
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys

from aiohttp import web

from kaguan.config import ConfigurationError, load_settings
from kaguan.dev.simulator.app import build_app
from kaguan.dev.simulator.population import DEFAULT_CARDS, DEFAULT_SEED, Population
from kaguan.dev.simulator.world import World
from kaguan.flow.probes import LOOPBACK

STOP_TIMEOUT = 2.0  # 秒；等在途应答


def runner_of(world: World) -> web.AppRunner:
    # handler_cancellation：等不及而挂断的调用不再占着「一次一个」的名额；没有谁向它发压缩的正文，一律不解
    return web.AppRunner(
        build_app(world),
        access_log=None,
        shutdown_timeout=STOP_TIMEOUT,
        handler_cancellation=True,
        auto_decompress=False,
    )


async def serve(world: World, host: str, port: int) -> None:
    """监听到收到停止信号为止。"""
    runner = runner_of(world)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        await site.start()
        actual_port = runner.addresses[0][1]
        sys.stdout.write(f"运营商模拟器就绪 http://{host}:{actual_port}\n")
        sys.stdout.flush()
        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        await stop.wait()
    finally:
        await runner.cleanup()


def main() -> None:
    parser = argparse.ArgumentParser(prog="kaguan.dev.simulator", description="运营商模拟器")
    parser.add_argument("--host", default=LOOPBACK, help="监听地址")
    parser.add_argument("--port", type=int, required=True, help="监听端口；0 由系统挑")
    parser.add_argument("--cards", type=int, default=DEFAULT_CARDS, help="每家运营商的卡数")
    parser.add_argument("--seed", type=int, default=DEFAULT_SEED, help="种子；同种子同世界")
    arguments = parser.parse_args()
    try:
        carriers = load_settings().carriers
    except ConfigurationError as error:
        parser.exit(2, f"{error}\n")
    asyncio.run(serve(World(Population(arguments.cards, arguments.seed), carriers), arguments.host, arguments.port))


if __name__ == "__main__":
    main()
