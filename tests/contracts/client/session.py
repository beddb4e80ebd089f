"""照生成的客户端写的一段程序：由装着它的解释器来跑，mypy 也按生成的类型看它。

用法：``python session.py 地址 令牌``；打印 JSON：见到的用户名、重名得到的错误码、受理的任务的类型与状态。
"""

from __future__ import annotations

import json
import sys

from kaguan_api_client import AuthenticatedClient
from kaguan_api_client.api.tasks import get_task, list_tasks, submit_email
from kaguan_api_client.api.users import create_user, list_users
from kaguan_api_client.models import (
    AcceptedAnswer,
    CreatedUserAnswer,
    EmailTask,
    Error10051012,
    TaskAnswer,
    TaskPageAnswer,
    UserIn,
    UserListAnswer,
)
from kaguan_api_client.types import UNSET


def main(url: str, token: str) -> None:
    with AuthenticatedClient(base_url=url, token=token, raise_on_unexpected_status=True) as client:
        people = [UserIn(f"user{n}", f"user{n}@example.com", "correct horse") for n in range(3)]
        for person in people:
            made = create_user.sync(client=client, body=person)
            assert isinstance(made, CreatedUserAnswer)
        twice = create_user.sync(client=client, body=people[0])
        assert isinstance(twice, Error10051012)
        names: list[str] = []
        cursor: str | None = ""
        while cursor is not None:
            page = list_users.sync_detailed(client=client, page_size=2, cursor=cursor or UNSET)
            assert isinstance(page.parsed, UserListAnswer)
            names += [user.username for user in page.parsed.data.items]
            cursor = page.parsed.data.next_cursor
        mail = EmailTask(to=["a@example.com"], subject="您好", body="正文", request_id="typed-1")
        accepted = submit_email.sync(client=client, body=mail, idempotency_key="typed")
        assert isinstance(accepted, AcceptedAnswer)
        task = get_task.sync(accepted.data.task_id, client=client)
        assert isinstance(task, TaskAnswer)
        tasks = list_tasks.sync(client=client)
        assert isinstance(tasks, TaskPageAnswer)
    found = {"names": names, "twice": twice.code, "type": task.data.type_, "status": task.data.status}
    print(json.dumps({**found, "tasks": len(tasks.data.items)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
