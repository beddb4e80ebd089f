"""一处变异：弄坏哪里，谁该发觉。"""

from __future__ import annotations

from dataclasses import dataclass

WORK = "src/kaguan/outbox/work/sql/"
DELIVERY = "tests/integration/outbox/test_delivery.py"
REDRIVE = "tests/integration/outbox/recover/test_redrive.py"
CORNERS = "tests/integration/outbox/test_protocol_corners.py"
SHARED = "tests/integration/outbox/deliver/test_shared_delivery.py"
ORDERING = "tests/integration/outbox/order/test_ordering.py"
UNCERTAIN = "tests/integration/mail/test_email_uncertain.py"
RELAY = "tests/integration/outbox/deliver/test_fault_relay.py"
LIMITS = "tests/integration/database/test_fault_limits.py"
CLAIM_ID = "tests/integration/outbox/work/test_claim_id.py"
SURVIVORS = "tests/integration/outbox/test_mutation_survivors.py"
SIMULATION = "tests/integration/outbox/test_simulation.py"
STORIES = SIMULATION + "::test_every_story_ends_well"
STORIES_HELD = STORIES + "[hold]"


@dataclass(frozen=True, slots=True)
class Mutation:
    """``old`` 恰好出现 ``count`` 次；``tests`` 里的用例该发觉它，``protocol`` 的还须被模拟自己发觉。"""

    name: str
    path: str
    old: str
    new: str
    tests: tuple[str, ...]
    protocol: bool = False
    count: int = 1
