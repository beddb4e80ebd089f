"""大块的活分段做：做够一段就歇一歇，别的请求不必等它做完。"""

from __future__ import annotations

import asyncio

STRETCH = 0.005  # 秒：做够这么久就歇
REST = 0.2  # 歇刚做的几分之一：一个请求来回要循环转十来圈，只让一圈，它每转一圈都要等一段


class TimeSlice:
    """记着这一段从何时做起；用循环的钟，模拟里时间不走就从不歇。"""

    def __init__(self) -> None:
        self._clock = asyncio.get_running_loop().time
        self._since = self._clock()

    async def pause_when_used(self) -> None:
        """这一段做够 :data:`STRETCH` 了就歇，否则什么也不做。"""
        worked = self._clock() - self._since
        if worked >= STRETCH:
            await asyncio.sleep(worked * REST)  # 歇的与做的成比例，别人总轮得到
            self._since = self._clock()
