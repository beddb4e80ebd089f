"""战役的 relay 的对照：``--mutation 名字`` 弄坏它。健康的战役直接跑 ``python -m relay``。"""

from __future__ import annotations

import sys

import relay.__main__ as relay_process
from kaguan.outbox import store
from kaguan.process import run_process
from kaguan.queues import saq
from kaguan.tasks.model import PriorityRank
from relay.epoch import EpochRedrive
from relay.forward import Forwarder
from relay.redrive import PresenceRedrive


class MarkingFirst(Forwarder):
    """先标记、先提交，后入队：中间一断就没人再管。"""

    async def run_once(self) -> int:
        rooms = await self._rooms()
        if not rooms:
            return 0
        async with self.pool.connection() as connection, connection.transaction():
            due = await store.fetch(connection, rooms)
            await store.mark_handed_over(connection, due)
        if due:
            await saq.enqueue_many(self.queues, [(PriorityRank(row.priority).queue, self._job(row)) for row in due])
        return len(due)


class BlindPresence(PresenceRedrive):
    """从不核对。"""

    async def run_once(self) -> int:
        return 0


class BlindEpoch(EpochRedrive):
    """从不看纪元。"""

    async def run_once(self) -> int:
        return 0


def mutate(name: str) -> None:
    if name in {"no_redrive", "mark_first"}:
        vars(relay_process)["PresenceRedrive"] = BlindPresence
        vars(relay_process)["EpochRedrive"] = BlindEpoch
    if name == "mark_first":
        vars(relay_process)["Forwarder"] = MarkingFirst


if __name__ == "__main__":
    if sys.argv[1:2] == ["--mutation"]:
        mutate(sys.argv[2])
    sys.exit(run_process("relay", relay_process.main))
