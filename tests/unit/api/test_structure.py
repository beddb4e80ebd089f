"""骨架数得准：与真的解析出来的比；上限由模型推出，装得下每条路由最大的合法请求体。"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field

from api.endpoints.endpoint import BODY_LIMIT, Endpoint
from api.endpoints.structure import SLACK, Structure, capacity, measure
from api.resources.sim_models import SimBatch
from api.resources.task_models import EmailTask, SimTask, TaskBatch, TaskBatchDocument
from api.routes import ROUTES
from kaguan.outbox.operate.selection import TEXT_LIMIT, text_limit
from kaguan.outbox.operate.sweeping import MOST, Deed
from kaguan.sims.importing import PREVIEW_MAX
from kaguan.words.errors import Code, DomainError
from tests.attacks import bodies

ROOMY = Structure(10**9, 10**9, 10**9)
# 引号、反斜杠、骨架字符偏多，还有要写成转义的
TEXTS = st.text(st.sampled_from('"\\[]{}:,a\n\u0000é卡\U0001f4e1'), max_size=12)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXTS,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(TEXTS, inner, max_size=5),
    max_leaves=30,
)
LARGEST: dict[str, Callable[[], bytes]] = {
    "/api/v1/tasks/email": bodies.largest_mail,
    "/api/v1/tasks/sim": bodies.largest_sim_task,
    "/api/v1/sims": bodies.largest_sims,
    "/api/v1/sims/changes": bodies.largest_change,
    # 凭据是我们给的，只有 ASCII；给了它就不再给别的条件
    "/api/v1/tasks/replay": lambda: bodies.packed({"preview": "x" * TEXT_LIMIT, "dry_run": False}),
    "/api/v1/sims/imports": lambda: bodies.packed({"preview": "x" * PREVIEW_MAX, "dry_run": False}),
    **{
        f"/api/v1/tasks/{deed}": lambda: bodies.packed({"preview": "x" * text_limit(MOST), "dry_run": False})
        for deed in Deed
    },
}


def counted(value: object) -> Structure:
    if isinstance(value, dict):
        own = Structure(1, len(value), max(0, len(value) - 1))
        return own.plus(*total([counted(item) for item in value.values()]))
    if isinstance(value, list):
        return Structure(1, 0, max(0, len(value) - 1)).plus(*total([counted(item) for item in value]))
    return Structure(0, 0, 0)


def total(parts: list[Structure]) -> Structure:
    found = Structure(0, 0, 0)
    for part in parts:
        found = found.plus(*part)
    return found


@settings(max_examples=300)
@given(value=VALUES, escaped=st.booleans(), indent=st.sampled_from([None, 1]), size=st.integers(1, 9))
async def test_what_is_counted_is_what_is_parsed_wherever_the_slices_fall(
    *, value: object, escaped: bool, indent: int | None, size: int
) -> None:
    raw = json.dumps(value, ensure_ascii=escaped, indent=indent).encode()
    assert await measure(raw, ROOMY, size) == counted(value)


@settings(max_examples=300)
@given(raw=st.binary(max_size=60) | st.text(st.sampled_from('"\\[{:, 1'), max_size=60).map(str.encode))
async def test_no_bytes_at_all_break_the_count(raw: bytes) -> None:
    found = await measure(raw, ROOMY)
    assert sum(found) <= len(raw)


@pytest.mark.parametrize(
    ("raw", "most"),
    [(b"[[],{}]", "containers"), (b'{"a":1,"b":[1,2]}', "keys"), (b"[1,2,3]", "commas")],
)
async def test_one_more_than_allowed_is_refused_before_anything_is_built(raw: bytes, most: str) -> None:
    exact = await measure(raw, ROOMY)
    assert await measure(raw, exact) == exact
    tight = exact._replace(**{most: getattr(exact, most) - 1})
    with pytest.raises(DomainError) as caught:
        await measure(raw, tight)
    assert caught.value.code is Code.MALFORMED_JSON
    assert str(getattr(tight, most)) in caught.value.zh
    assert str(getattr(tight, most)) in caught.value.en


@pytest.mark.parametrize(
    ("shape", "own"),
    [
        # 邮件：自己、收件人、抄送、附件清单、十个附件；十二个字段，每个附件三个
        (EmailTask, Structure(14, 11 + 30, 11 + 100 + 100 + 10 + 30)),
        (SimTask, Structure(2, 7, 7 + 1_000)),
        # 卡：十一个字段，其一是至多十个标签
        (SimBatch, Structure(2 + 2_000, 1 + 11_000, 1 + 1_000 + 11_000 + 10_000)),
        # 批量：每一项按三种任务里最大的算
        (TaskBatchDocument, Structure(2 + 14_000, 1 + 42_000, 1 + 1_000 + 1_008_000)),
    ],
)
def test_the_bound_follows_from_the_model(shape: Any, own: Structure) -> None:
    assert capacity(shape) == own.plus(SLACK, SLACK, SLACK)


def test_a_model_without_a_bound_is_a_mistake_of_the_programmer() -> None:
    class Endless(BaseModel):
        model_config = ConfigDict(extra="forbid")
        names: list[str] = Field(default_factory=list)

    for shape in (Endless, TaskBatch):
        with pytest.raises(ValueError, match="推不出"):
            capacity(shape)


@pytest.mark.parametrize("route", [route for route in ROUTES if route.body], ids=lambda route: route.name)
async def test_every_route_holds_its_largest_legal_body(route: Endpoint) -> None:
    allowed = capacity(route.body_document or route.body)
    if route.path == "/api/v1/tasks/batch":
        for make in (bodies.largest_batch_of_cards, bodies.largest_batch_of_mails):
            assert await measure(make(), allowed)
        return
    largest = LARGEST[route.path]() if route.path in LARGEST else bodies.packed(longest(route), escaped=True)
    assert (
        route.body_limit is None
        or route.body_limit // 2 < len(largest) < route.body_limit
        or (route.body_limit == BODY_LIMIT and len(largest) < BODY_LIMIT)
    )
    assert await measure(largest, allowed)


def longest(route: Endpoint) -> Any:
    """每个字段都在、每段文字都最长、每个字都是最费字节的那种。"""
    assert route.body is not None
    schema = route.body.model_json_schema()
    return filled(schema, schema.get("$defs", {}))


def filled(schema: dict[str, Any], definitions: dict[str, Any]) -> Any:
    if "$ref" in schema:
        return filled(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    if "properties" in schema:
        return {name: filled(field, definitions) for name, field in schema["properties"].items()}
    if "anyOf" in schema:
        return filled(schema["anyOf"][0], definitions)
    if schema.get("type") == "string" and "enum" not in schema:
        return bodies.ASTRAL * schema.get("maxLength", 64)
    return max(schema.get("enum", [2**63 - 1]), key=lambda item: len(str(item)))
