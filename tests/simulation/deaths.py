"""走遍每段经历，记下每个点；再走一遍，死在那里。"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from tests.simulation.byways import BYWAYS
from tests.simulation.forgetting import FORGETTING
from tests.simulation.stories import MAIN
from tests.simulation.walking import WATCH, StruckError
from tests.simulation.world import World

STORIES: dict[str, Callable[[World], None]] = {story.__name__: story for story in (*MAIN, *BYWAYS, *FORGETTING)}


class Walk(NamedTuple):
    """一段经历：停过的点、头一次停在第几步，与每个进程的每一步；平静之后的不算。"""

    points: dict[str, int]
    steps: list[str]


def walk(world: World, story: str) -> Walk:
    world.reset()
    world.points.clear()
    STORIES[story](world)
    return Walk(dict(world.points), list(world.turnstile.trace))


def points_by_story(walks: Mapping[str, Walk]) -> dict[str, str]:
    """每个点，与最早走到它的经历。"""
    found: dict[str, tuple[int, str]] = {}
    for name, walked in walks.items():
        for point, step in walked.points.items():
            found[point] = min(found.get(point, (step, name)), (step, name))
    return {point: story for point, (_, story) in found.items()}


def die_at(world: World, point: str, story: str) -> bool:
    """把这段经历再走一遍，头一次停在 ``point`` 的进程就死在那里；返回死了没有。"""
    world.reset()
    WATCH.target = point
    try:
        STORIES[story](world)
    except StruckError:
        return True
    finally:
        WATCH.target = None
    return False
