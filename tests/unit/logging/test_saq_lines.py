"""要入队的投递：SAQ 的日志开着时，它说的不变。"""

from __future__ import annotations

from redis.asyncio import Redis
from saq.job import Job

from kaguan.logging.saq_lines import QuietJob
from kaguan.outbox.deliver.deliveries import KaguanQueue


def test_a_delivery_says_which_it_is_and_all_of_it_when_asked() -> None:
    queue = KaguanQueue(Redis(), "default")
    ours = QuietJob("email:send", key="a:1", queue=queue, kwargs={"deliveries": [["a", 1]]})
    assert ours.info() == "saq:job:default:a:1"
    assert "deliveries" in ours.info(full=True)
    assert ours.to_dict() == Job("email:send", key="a:1", queue=queue, kwargs={"deliveries": [["a", 1]]}).to_dict()
