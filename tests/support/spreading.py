"""xdist 的分派：按 :mod:`tests.support.order` 的份，依次序发下去。"""

from __future__ import annotations

from functools import cached_property

from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped] # xdist 没有标注

from tests.support.order import load, unit_of


class Spreading(LoadScopeScheduling):  # type: ignore[misc] # 同上
    @cached_property
    def _durations(self) -> dict[str, float]:
        return load()

    def _split_scope(self, nodeid: str) -> str:
        return unit_of(nodeid, self._durations)
