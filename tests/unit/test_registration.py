"""每种任务都要登记：载荷模型一行，处理器一行；漏了一行，导入时就报错，不等到半夜取到那种任务。"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import kaguan.tasks.payloads
import workers.registry
from kaguan.outbox.vocabulary import TaskType

if TYPE_CHECKING:
    from types import ModuleType

MODULES = [kaguan.tasks.payloads, workers.registry]


@pytest.mark.parametrize("task_type", TaskType)
def test_a_name_has_the_form_the_database_asks_for(task_type: TaskType) -> None:
    assert re.fullmatch(r"[a-z][a-z0-9_]*(:[a-z][a-z0-9_]*)+", task_type)
    assert len(task_type) <= 64


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
@pytest.mark.parametrize("task_type", TaskType)
def test_a_missing_line_fails_at_import(module: ModuleType, task_type: TaskType) -> None:
    assert module.__file__ is not None
    lines = Path(module.__file__).read_text("utf-8").splitlines()
    kept = [line for line in lines if not line.strip().startswith(f"TaskType.{task_type.name}:")]
    assert len(kept) == len(lines) - 1
    with pytest.raises(LookupError, match=task_type):
        exec(compile("\n".join(kept), module.__file__, "exec"), {"__name__": module.__name__})  # noqa: S102 我们自己的源码
