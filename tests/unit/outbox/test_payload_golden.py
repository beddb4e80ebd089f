"""在途的消息熬得过部署：每个载荷版本一份存好的 JSON，今天的代码读得懂，写出来也还是它。"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from kaguan.outbox.accept.acceptance import Staged, Submission
from kaguan.outbox.task_type import TaskType
from kaguan.product.task_types import TASK_TYPES

GOLDEN = Path(__file__).parents[2] / "golden"


def golden(task_type: TaskType[Any]) -> list[Path]:
    return sorted(GOLDEN.glob(f"{task_type.name.replace(':', '_')}.v*.json"))


@pytest.mark.parametrize("task_type", TASK_TYPES, ids=str)
def test_every_stored_version_is_read_and_written_back_unchanged(task_type: TaskType[Any]) -> None:
    stored = golden(task_type)
    assert stored
    for path in stored:
        payload = json.loads(path.read_text("utf-8"))
        assert task_type.payload.model_validate(payload).model_dump(mode="json") == payload, path.name


@pytest.mark.parametrize("task_type", TASK_TYPES, ids=str)
def test_the_stored_sample_names_every_field(task_type: TaskType[Any]) -> None:
    payload = json.loads(golden(task_type)[-1].read_text("utf-8"))
    assert set(payload) == set(task_type.payload.model_fields)


@pytest.mark.parametrize("task_type", TASK_TYPES, ids=str)
def test_an_unknown_version_or_field_is_refused_not_guessed(task_type: TaskType[Any]) -> None:
    payload = json.loads(golden(task_type)[-1].read_text("utf-8"))
    for strange in ({"v": 2}, {"surprise": 1}):
        with pytest.raises(ValidationError):
            task_type.payload.model_validate({**payload, **strange})


@pytest.mark.parametrize("task_type", TASK_TYPES, ids=str)
def test_what_is_stored_is_byte_for_byte_what_the_model_dumps(task_type: TaskType[Any]) -> None:
    """同一 request_id 的重复提交按摘要认，摘要按这些字节算：旧版本写下的也得认得。"""
    payload = task_type.payload.model_validate_json(golden(task_type)[-1].read_bytes())
    assert Staged.of(Submission(task_type, payload)).payload == payload.model_dump_json().encode()


@pytest.mark.parametrize("task_type", TASK_TYPES, ids=str)
def test_payloads_are_frozen(task_type: TaskType[Any]) -> None:
    payload = task_type.payload.model_validate_json(golden(task_type)[-1].read_bytes())
    with pytest.raises(ValidationError):
        payload.v = 1
