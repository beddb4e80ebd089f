"""本产品的全部任务类型。加一种：在它的领域声明，这里与 ``workers.registry`` 各加一行。"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from typing_extensions import TypeAliasType

from kaguan.config.model import Carriers, Smtp
from kaguan.mail.task import EMAIL_SEND, email_send
from kaguan.notices.task import TASK_NOTIFY
from kaguan.outbox.task_type import TaskType, TaskTypes
from kaguan.sims.tasks import DATA_SYNC, EVENT_PUBLISH, SIM_CHANGE, SIM_STATUS_SYNC, asking
from kaguan.verdict.task import VERDICT_PUSH

TASK_TYPES: tuple[TaskType[Any], ...] = (
    EMAIL_SEND,
    DATA_SYNC,
    SIM_STATUS_SYNC,
    SIM_CHANGE,
    EVENT_PUBLISH,
    TASK_NOTIFY,
    VERDICT_PUSH,
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
