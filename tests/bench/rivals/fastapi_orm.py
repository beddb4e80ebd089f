"""对手二：FastAPI + SQLAlchemy ORM，照两家文档的写法。

Pydantic 请求模型、每个请求一个 AsyncSession 的依赖、两个 ORM 对象、一次 commit；uvicorn 一个进程，uvloop 与
httptools。驱动是 psycopg（与我们相同），连接池的大小也相同。不开访问日志。
"""

import os
import sys
from collections.abc import AsyncIterator
from typing import Annotated, Literal
from uuid import UUID

import uuid_utils.compat as uuid7_source
import uvicorn
from fastapi import Depends, FastAPI
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine

from kaguan.outbox.tables import Outbox, Task

POOL_SIZE = 25  # 与 KAGUAN_DATABASE__POOL_MAX 的默认值相同
RANK = {"critical": 0, "default": 1, "low": 2}

engine = create_async_engine(
    os.environ["RIVAL_DATABASE_URL"].replace("postgresql://", "postgresql+psycopg://", 1),
    pool_size=POOL_SIZE,
    max_overflow=0,
)
new_session = async_sessionmaker(engine, expire_on_commit=False)


class Mail(BaseModel):
    model_config = ConfigDict(extra="forbid")

    request_id: Annotated[str, Field(min_length=1, max_length=128)]
    to: Annotated[list[str], Field(min_length=1)]
    cc: list[str] = []
    subject: Annotated[str, Field(min_length=1, max_length=255)]
    body: Annotated[str, Field(min_length=1)]
    html: str | None = None
    priority: Literal["critical", "default", "low"] = "default"
    schedule_at: AwareDatetime | None = None


class Accepted(BaseModel):
    task_id: UUID
    status: str


async def session() -> AsyncIterator[AsyncSession]:
    async with new_session() as opened:
        yield opened


async def submit(mail: Mail, database: Annotated[AsyncSession, Depends(session)]) -> Accepted:
    task_id = uuid7_source.uuid7()
    payload = mail.model_dump(mode="json", exclude={"request_id", "priority", "schedule_at"})
    due = {} if mail.schedule_at is None else {"available_at": mail.schedule_at}
    database.add(
        Task(
            id=task_id,
            type="email:send",
            queue=mail.priority,
            principal="bench",
            request_id=mail.request_id,
            payload=payload,
            max_attempts=6,
            **due,
        )
    )
    database.add(
        Outbox(task_id=task_id, delivery=1, type="email:send", priority=RANK[mail.priority], principal="bench", **due)
    )
    await database.commit()
    return Accepted(task_id=task_id, status="pending")


app = FastAPI()
# 与 @app.post 等价；这样写，没装 fastapi 的环境也能做类型检查
app.add_api_route("/submit", submit, methods=["POST"], status_code=202, response_model=Accepted)


if __name__ == "__main__":
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=int(sys.argv[1]),
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level="warning",
    )
