"""隔离令牌：哪个任务、哪次投递、哪次认领。三样都与库里相符，才还归自己。"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from uuid import UUID

COLUMNS = ("task_ids", "deliveries", "claim_ids")  # 几个令牌，一样一列


class Token(NamedTuple):
    """数据库丢了尾巴，投递号会重复，随机的认领号不会（docs/adr/0032）。"""

    task_id: UUID
    delivery: int
    claim_id: UUID
