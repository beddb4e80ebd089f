"""读访问日志。"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.eventually import eventually


@dataclass(frozen=True, slots=True)
class AccessLines:
    path: Path

    def all(self) -> list[dict[str, Any]]:
        if not self.path.exists():
            return []
        whole, _, _ = self.path.read_text("utf-8").rpartition("\n")  # 末一行也许还在写
        return [json.loads(line) for line in whole.splitlines()]

    async def of(self, request_id: str) -> dict[str, Any]:
        """那个请求的一行（恰好一行）。"""
        found = await eventually(lambda: [line for line in self.all() if line["request_id"] == request_id])
        assert len(found) == 1
        return found[0]

    async def last(self, count: int) -> list[dict[str, Any]]:
        """等到至少 ``count`` 行。"""
        await eventually(lambda: len(self.all()) >= count)
        return self.all()
