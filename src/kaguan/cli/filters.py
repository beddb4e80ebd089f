"""任务的条件：列表、取消、丢弃、重来用的是同一组选项，名字与 API 相同。"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, get_type_hints

import typer

from kaguan.cli.configured import current_settings
from kaguan.cli.kinds import OfType
from kaguan.cli.wording import say
from kaguan.outbox.operate.listing import TaskFilter
from kaguan.outbox.vocabulary import FIRST_ID, LAST_ID, Priority, TaskStatus, id_floor
from kaguan.product.matching import containing
from kaguan.words import zones
from kaguan.words.durations import seconds_of


def ago(text: str) -> datetime:
    """``2h``（之前），或一个时刻；不带偏移的在配置的时区里。"""
    return moment(text, before=True)


def moment(text: str, *, before: bool = False) -> datetime:
    """``2h``（之后，或之前），或一个时刻；不带偏移的在配置的时区里。

    Raises:
        BadParameter: 都不是。
    """
    seconds = seconds_of(text)
    if seconds is not None:
        return datetime.now(UTC) + timedelta(seconds=-seconds if before else seconds)
    try:
        return zones.read(text, current_settings().zone)
    except (ValueError, OverflowError):
        raise typer.BadParameter(say("not_a_moment", text=text)) from None


@dataclass(frozen=True, slots=True)
class Filters:
    """命令行上给的条件。"""

    status: Annotated[list[TaskStatus] | None, typer.Option(help="statuses")] = None
    task_type: OfType = None
    queue: Annotated[Priority | None, typer.Option(help="queue")] = None
    caller: Annotated[str | None, typer.Option(help="caller")] = None
    error: Annotated[str | None, typer.Option(help="error")] = None
    iccid: Annotated[str | None, typer.Option(help="iccid")] = None
    recipient: Annotated[str | None, typer.Option(help="recipient")] = None
    request_id: Annotated[str | None, typer.Option(help="request_id")] = None
    ordering_key: Annotated[str | None, typer.Option(help="ordering_key")] = None
    scheduled: Annotated[bool | None, typer.Option(help="scheduled")] = None
    since: Annotated[datetime | None, typer.Option(parser=ago, metavar="moment", help="since_or_ago")] = None
    until: Annotated[datetime | None, typer.Option(parser=ago, metavar="moment", help="until_or_ago")] = None
    limit: int = 0

    @property
    def given(self) -> bool:
        """状态之外还有条件。"""
        return any(getattr(self, name) is not None for name in FIELDS if name != "status")

    def where(self) -> TaskFilter:
        return TaskFilter(
            since=FIRST_ID if self.since is None else id_floor(self.since),
            before=LAST_ID if self.until is None else id_floor(self.until),
            type=self.task_type,
            statuses=tuple(dict.fromkeys(self.status or ())),
            queue=self.queue,
            request_id=self.request_id,
            ordering_key=self.ordering_key,
            caller=self.caller,
            error=self.error,
            containing=containing(self.iccid, self.recipient),
            scheduled=self.scheduled,
        )


OPTIONS = tuple(Filters.__slots__)
FIELDS = tuple(name for name in OPTIONS if name != "limit")
KEYWORD = inspect.Parameter.KEYWORD_ONLY


def filtered(limit: int, most: int) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """``command`` 的第一个参数是条件，别的是它自己的：选项合在一起，交给 typer；至多几个，没说是 ``limit``。"""

    def combine(command: Callable[..., None]) -> Callable[..., None]:
        hints = get_type_hints(command, include_extras=True)
        common = get_type_hints(Filters, include_extras=True)
        common["limit"] = Annotated[int, typer.Option(min=1, max=most, help="limit")]
        own = list(inspect.signature(command).parameters.values())[1:]
        parameters = [one.replace(kind=KEYWORD, annotation=hints[one.name]) for one in own]
        for name in OPTIONS:
            default = limit if name == "limit" else None
            parameters.append(inspect.Parameter(name, KEYWORD, default=default, annotation=common[name]))

        def run(**options: Any) -> None:
            command(Filters(**{name: options.pop(name) for name in OPTIONS}), **options)

        run.__name__ = command.__name__
        vars(run)["__signature__"] = inspect.Signature(parameters)
        return run

    return combine
