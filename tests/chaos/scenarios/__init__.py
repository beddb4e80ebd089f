"""目标：每个一个场景，自己的数，达不到就不合格。``python -m tests.chaos --scenario 名字``。"""

from __future__ import annotations

import argparse
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from tests.chaos.scenarios.flush import flush
from tests.chaos.scenarios.outage import outage
from tests.chaos.scenarios.storm import storm
from tests.chaos.scenarios.worker_freeze import worker_freeze
from tests.chaos.scenarios.worker_kill import worker_kill
from tests.chaos.servers import Servers

if TYPE_CHECKING:
    from tests.chaos.scenarios.outcome import Outcome

SCENARIOS: dict[str, Callable[[Servers, argparse.Namespace], Awaitable[Outcome]]] = {
    "flush-100k": lambda servers, options: flush(servers, options.count or 100_000),
    "worker-kill": lambda servers, options: worker_kill(servers, options.lease),
    "worker-freeze": lambda servers, _options: worker_freeze(servers),
    "redis-outage": lambda servers, options: outage(servers, options.minutes * 60),
    "storm": lambda servers, options: storm(servers, options.count or 50_000, options.high_water),
}
