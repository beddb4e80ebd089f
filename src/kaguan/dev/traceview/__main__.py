"""``python -m kaguan.dev.traceview --port N``：只在本机监听，SIGINT / SIGTERM 停止。收下的只在内存里。"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from zoneinfo import ZoneInfo

from aiohttp import web

from kaguan.dev.traceview.app import build_runner
from kaguan.dev.traceview.store import Limits
from kaguan.flow.probes import LOOPBACK
from kaguan.words.zones import BUSINESS_ZONE


async def serve(limits: Limits, zone: ZoneInfo, port: int) -> None:
    """监听到收到停止信号为止。"""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    runner = build_runner(limits, zone)
    await runner.setup()
    try:
        await web.TCPSite(runner, LOOPBACK, port).start()
        sys.stdout.write(f"跟踪查看器就绪 http://{LOOPBACK}:{runner.addresses[0][1]}/\n")
        sys.stdout.flush()
        await stop.wait()
    finally:
        await runner.cleanup()


def main() -> None:
    parser = argparse.ArgumentParser(prog="kaguan.dev.traceview", description="本机的跟踪查看器")
    parser.add_argument("--port", type=int, required=True, help="监听端口；0 由系统挑")
    defaults = Limits()
    parser.add_argument("--traces", type=int, default=defaults.traces, help="至多留多少条跟踪")
    parser.add_argument("--spans", type=int, default=defaults.spans, help="至多留多少个跨度")
    parser.add_argument("--bytes", type=int, default=defaults.bytes, help="至多占多少字节")
    parser.add_argument("--time-zone", default=BUSINESS_ZONE.key, help="时刻用哪个时区（IANA 名）")
    given = parser.parse_args()
    asyncio.run(serve(Limits(given.traces, given.spans, given.bytes), ZoneInfo(given.time_zone), given.port))


if __name__ == "__main__":
    main()
