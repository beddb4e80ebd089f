"""每个命令、每条流水线前后都有一个点的 Redis 客户端。"""

from __future__ import annotations

from typing import Any

from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.client import Pipeline

from tests.simulation.process import Process


class SteppedPipeline(Pipeline):
    process: Process

    async def execute(self, raise_on_error: bool = True) -> list[Any]:
        names = dict.fromkeys(str(command[0][0]).lower() for command in self.command_stack)
        run = super().execute
        return await self.process.effect(f"redis {'+'.join(names)}", lambda: run(raise_on_error))


class SteppedRedis(Redis):
    process: Process

    @classmethod
    def of(cls, process: Process, pool: ConnectionPool) -> SteppedRedis:
        client = cls(connection_pool=pool)
        client.process = process
        return client

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        run: Any = super().execute_command  # redis-py 没有给它标类型
        return await self.process.effect(f"redis {str(args[0]).lower()}", lambda: run(*args, **options))

    def pipeline(self, transaction: bool = True, shard_hint: str | None = None) -> Pipeline:
        build: Any = SteppedPipeline  # 同上
        pipe: SteppedPipeline = build(self.connection_pool, self.response_callbacks, transaction, shard_hint)
        pipe.process = self.process
        return pipe
