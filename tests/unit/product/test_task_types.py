"""任务类型照配置定下：worker 的名额有几个，看的是这里。"""

from __future__ import annotations

from kaguan.config.model import Carriers, ControlCenter, OneLink, Smtp
from kaguan.mail.task import EMAIL_SEND, IN_HAND
from kaguan.product.task_types import NAMES, task_types
from kaguan.sims.tasks import DATA_SYNC, SIM_CHANGE, SIM_STATUS_SYNC
from kaguan.sims.vocabulary import Carrier


def test_the_places_of_each_carrier_and_of_the_relay_host_are_those_of_the_settings() -> None:
    carriers = Carriers(onelink=OneLink(tasks=3), control_center=ControlCenter(tasks=1))
    types = task_types(Smtp(connections=2), carriers)
    assert tuple(types) == NAMES
    for one in (DATA_SYNC, SIM_STATUS_SYNC, SIM_CHANGE):
        assert dict(types[one.name].resources) == {Carrier.ONELINK: 3, Carrier.CONTROL_CENTER: 1}
    assert types[EMAIL_SEND.name].limit == 2 * IN_HAND
