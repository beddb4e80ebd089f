"""SAQ 自己的日志行。"""

from __future__ import annotations

import logging

from saq.job import Job

# 不出声，见 kaguan.words.log；它在 INFO 逐任务说三句，应用自己没有定过级别的，只留警告以上的
SAQ = logging.getLogger("saq")
SAQ.addHandler(logging.NullHandler())
if SAQ.level == logging.NOTSET:
    SAQ.setLevel(logging.WARNING)


class QuietJob(Job):
    """要入队的投递。"""

    def info(self, full: bool = False) -> str:  # noqa: FBT001, FBT002 签名随 SAQ
        """只说是哪一个：SAQ 每入队一次都先拼好一整句，而那一行日志没有开，relay 转交一行的时间有近一成在这里。"""
        return super().info(full) if full else self.id
