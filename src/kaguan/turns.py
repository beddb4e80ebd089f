"""大块的活分段做：做够一段就让事件循环转一圈，别的请求不必等它做完。"""

from __future__ import annotations

import asyncio

STRETCH = 0.005  # 秒：一个请求来回要转十来圈，一段太长就加倍地等


class Turns:
    """记着这一段从何时做起；用循环的钟，模拟里时间不走就从不让。"""

    def __init__(self) -> None:
        self._clock = asyncio.get_running_loop().time
        self._since = self._clock()

    async def give(self) -> None:
        """这一段做够 :data:`STRETCH` 了就让一圈，否则什么也不做。"""
        if self._clock() - self._since >= STRETCH:
            await asyncio.sleep(0)
            self._since = self._clock()
