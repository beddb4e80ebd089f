"""长活儿的进度条：画在标准错误上；不是终端、或要 JSON 时一声不响。"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from kaguan.cli.wording import say
from kaguan.outbox.operate.watching import Watched
from kaguan.outbox.vocabulary import TaskStatus


@contextmanager
def following(*, quiet: bool) -> Iterator[Callable[[list[Watched]], None]]:
    """给出「看一眼」：一个任务画它自己的进度，几个任务画结束了几个。"""
    from rich import console, progress  # noqa: PLC0415 等着看的命令才画

    columns = (
        progress.SpinnerColumn(),
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.TextColumn("{task.fields[figures]}"),
        progress.TimeElapsedColumn(),
    )
    disabled = quiet or not sys.stderr.isatty()
    screen = console.Console(stderr=True)
    with progress.Progress(*columns, console=screen, disable=disabled, transient=True) as drawn:
        line = drawn.add_task("", total=None, figures="")

        def look(tasks: list[Watched]) -> None:
            description, done, total, figures = describe(tasks)
            drawn.update(line, description=description, completed=done, total=total, figures=figures)

        yield look


def describe(tasks: list[Watched]) -> tuple[str, int, int | None, str]:
    """说明、做了多少、共多少（不知道为空）、数字。"""
    if len(tasks) != 1:
        settled = sum(task.settled for task in tasks)
        failed = sum(task.status != TaskStatus.SUCCEEDED for task in tasks if task.settled)
        return (
            say("tasks"),
            settled,
            len(tasks),
            f"{settled}/{len(tasks)}" + (say("undone", count=failed) if failed else ""),
        )
    (task,) = tasks
    progress = task.progress or {}
    done, total = progress.get("done") or 0, progress.get("total")
    figures = f"{done}/{total}" if total else f"{done}"
    if total is None and progress.get("parts_total"):  # 总数不知道，份数知道
        done, total = progress["parts_done"], progress["parts_total"]
        figures += say("parts", done=done, total=total)
    return f"{task.type} {say(TaskStatus(task.status))}", done, total, figures
