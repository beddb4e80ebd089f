"""演练里的信：提交了哪些组，库里怎样了，收件端收到几份。"""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any, LiteralString

import psycopg

from tests.deploy.archive import Archive
from tests.e2e.stack import RunningStack, kaguan, started
from tests.support.eventually import eventually
from tests.support.smtp_server import SmtpServer

PASSING = {0, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT}
SUBJECT = re.compile(rb"^Subject: (\w+)-", re.MULTILINE)
MESSAGE_ID = re.compile(rb"^Message-ID: (\S+)", re.MULTILINE | re.IGNORECASE)


async def answered(stack: RunningStack, method: str, path: str, body: dict[str, Any] | None = None) -> tuple[int, Any]:
    """忙的机器上一时没有答的再问；提交带着 ``request_id``，重来也只是一个任务。"""

    async def reply() -> tuple[int, Any] | None:
        status, data = await asyncio.to_thread(stack.request, method, path, body)
        return None if status in PASSING else (status, data)

    found: tuple[int, Any] | None = await eventually(reply)
    assert found is not None
    return found


async def printed(data: Path, *words: str) -> Any:
    """命令行印出的 JSON；库一时没有答的再问。"""

    async def said() -> list[Any]:
        done = await asyncio.to_thread(kaguan, *words, "--json", data=data)
        return [] if done.returncode else [json.loads(done.stdout)]

    (found,) = await eventually(said)
    return found


@dataclass(slots=True)
class Drill:
    place: Path
    archive: Archive
    mail: SmtpServer
    environ: dict[str, str]
    tasks: dict[str, list[str]] = field(default_factory=dict)  # 组 → 任务号

    @asynccontextmanager
    async def stack(self) -> AsyncIterator[RunningStack]:
        async with started(self.place / "data", self.place / "log", extra=self.environ) as stack:
            yield stack

    async def submit(self, stack: RunningStack, group: str, count: int, **more: str) -> None:
        for number in range(count):
            body = {
                "to": ["a@example.com"],
                "subject": f"{group}-{number}",
                "body": "b",
                "request_id": f"{group}-{number}",
                **more,
            }
            status, answer = await answered(stack, "POST", "/api/v1/tasks/email", body)
            if status != HTTPStatus.ACCEPTED:
                raise SystemExit(f"没有受理：{answer}")
            self.tasks.setdefault(group, []).append(answer["data"]["task_id"])

    async def status(self, stack: RunningStack, task_id: str) -> str:
        status, answer = await answered(stack, "GET", f"/api/v1/tasks/{task_id}")
        return str(answer["data"]["status"] if status == HTTPStatus.OK else status)

    async def statuses(self, stack: RunningStack, group: str) -> Counter[str]:
        return Counter([await self.status(stack, task_id) for task_id in self.tasks[group]])

    async def reaches(self, stack: RunningStack, group: str, *wanted: str) -> None:
        async def there() -> bool:
            for task_id in reversed(self.tasks[group]):  # 最后提交的多半最后才到：没到就不必问别的
                if await self.status(stack, task_id) not in wanted:
                    return False
            return True

        await eventually(there)

    async def listed(self, *statuses: str) -> set[str]:
        """命令行列出的邮件任务。"""
        found = set()
        for status in statuses:
            words = ("task", "list", "--type", "email:send", "--status", status, "--limit", "100")
            found |= {str(task["task_id"]) for task in await printed(self.place / "data", *words)}
        return found

    def copies(self) -> dict[str, Counter[int]]:
        """组 → 收到几份 → 几封（按 Message-ID 认）。"""
        counts: dict[str, Counter[bytes]] = {}
        for one in self.mail.mails:
            group, name = SUBJECT.search(one.content), MESSAGE_ID.search(one.content)
            if group is not None and name is not None:
                counts.setdefault(group[1].decode(), Counter())[name[1]] += 1
        return {group: Counter(times.values()) for group, times in counts.items()}

    async def now(self) -> datetime:
        ((moment,),) = await self.rows("select clock_timestamp()")
        assert isinstance(moment, datetime)
        return moment

    async def rows(self, query: LiteralString) -> list[tuple[Any, ...]]:
        """库里的：等的时候问它，不必问一次起一条命令。"""
        async with await psycopg.AsyncConnection.connect(self.archive.server.url) as connection:
            return await (await connection.execute(query)).fetchall()
