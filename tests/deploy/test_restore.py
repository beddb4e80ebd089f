"""恢复到某一刻的演练：基础备份、归档的 WAL、灾难、旧的 Redis。同 ``make prove P=restore``。"""

from __future__ import annotations

from tests.deploy.restore import drill
from tests.support.places import temporary_place


async def test_what_became_of_every_mail_after_a_restore_is_what_the_handbook_says() -> None:
    with temporary_place("restore") as place:
        assert await drill(place, flush=False) == []
