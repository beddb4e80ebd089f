"""配置里要懂各领域才查得出的。"""

from __future__ import annotations

from kaguan.config import ConfigurationError, Settings
from kaguan.mail.address import parse_address
from kaguan.outbox.schedule.checking import check
from kaguan.outbox.task_type import TaskTypes
from kaguan.product.task_types import NAMES, TASK_TYPES
from kaguan.words.spoken import listed, said


def check_settings(settings: Settings) -> None:
    """是不是自己的发件箱，认不认得写到的任务类型，告警寄不寄得到，定时计划合不合各类型的要求。

    Raises:
        ConfigurationError: 有不合的，逐个说明。
    """
    if settings.database.schema_name:
        raise ConfigurationError(said("config.other_schema"))
    unknown = sorted(settings.worker.limits.keys() - set(NAMES))
    if unknown:
        raise ConfigurationError(said("config.limits_types", unknown=listed(unknown), known=listed(NAMES)))
    if wrong := [one for one in settings.alerts.mail_to if parse_address(one) is None]:
        raise ConfigurationError(said("config.alert_mailboxes", wrong=listed(wrong)))
    check(settings.schedules, TaskTypes(TASK_TYPES))
