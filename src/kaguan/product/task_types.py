"""本产品的全部任务类型。加一种：在它的领域声明，这里与 ``workers.registry`` 各加一行。"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from typing_extensions import TypeAliasType

from kaguan.config import ConfigurationError, Settings
from kaguan.config.model import Carriers, Smtp
from kaguan.mail.task import EMAIL_SEND, email_send
from kaguan.notices.task import TASK_NOTIFY
from kaguan.outbox.schedule.checking import check
from kaguan.outbox.task_type import TaskType, TaskTypes
from kaguan.sims.tasks import DATA_SYNC, EVENT_PUBLISH, SIM_CHANGE, SIM_STATUS_SYNC, asking
from kaguan.words.spoken import listed, said

TASK_TYPES: tuple[TaskType[Any], ...] = (
    EMAIL_SEND,
    DATA_SYNC,
    SIM_STATUS_SYNC,
    SIM_CHANGE,
    EVENT_PUBLISH,
    TASK_NOTIFY,
)

NAMES: tuple[str, ...] = tuple(one.name for one in TASK_TYPES)

if TYPE_CHECKING:
    TaskTypeName: TypeAlias = str
else:
    # 请求与应答里只认这几个；有名字，接口文档里就只写一处
    TaskTypeName = TypeAliasType("TaskTypeName", Literal[NAMES])


def task_types(smtp: Smtp, carriers: Carriers | None = None) -> TaskTypes:
    """全部类型，邮件的结局不明怎么办、各家的名额已按配置定下；只有 worker 用得着名额有几个。"""
    mail = email_send(smtp)
    decided = {mail.name: mail, **{one.name: one for one in asking(carriers or Carriers())}}
    return TaskTypes(decided.get(one.name, one) for one in TASK_TYPES)


def check_settings(settings: Settings) -> None:
    """配置里要懂任务类型才查得出的：是不是自己的发件箱、定时计划合不合各类型的要求。

    Raises:
        ConfigurationError: 有不合的，逐个说明。
    """
    if settings.database.schema_name:
        raise ConfigurationError(said("config.other_schema"))
    unknown = sorted(settings.worker.limits.keys() - set(NAMES))
    if unknown:
        raise ConfigurationError(said("config.limits_types", unknown=listed(unknown), known=listed(NAMES)))
    check(settings.schedules, TaskTypes(TASK_TYPES))
