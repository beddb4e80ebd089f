"""文档与实现两边对齐。"""

from __future__ import annotations

import re
import runpy
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from pydantic import TypeAdapter, create_model

from api.endpoints.endpoint import Endpoint
from api.openapi.english import TOLD, catalogue
from api.openapi.parts import Components
from api.routes import ROUTES
from kaguan.tokens.service import SCOPES
from kaguan.words.errors import MEANINGS, Code
from tests.contracts.documented import DOCUMENT, response_of, schema_of
from tests.support.folded import folded
from tests.support.repository import ROOT
from tests.support.serving import Api
from tests.support.untraced import untraced

COMMITTED = ROOT / "docs" / "openapi.yaml"
DESCRIBE = str(ROOT / "src" / "api" / "describe.py")
HAN = re.compile(r"[\u4e00-\u9fff]")


def test_the_document_is_valid_openapi() -> None:
    from openapi_spec_validator import validate

    with untraced():
        validate(DOCUMENT)


def test_the_committed_document_is_the_generated_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """``kaguan openapi`` 印的（它换成这个程序，见 tests/e2e/test_wheel.py）就是收在库里的。"""
    monkeypatch.setattr("sys.argv", ["api"])
    runpy.run_path(DESCRIBE, run_name="__main__")
    assert capsys.readouterr().out == COMMITTED.read_text("utf-8"), "请运行 kaguan openapi > docs/openapi.yaml"
    monkeypatch.setattr("sys.argv", ["api", "--json"])
    runpy.run_path(DESCRIBE, run_name="__main__")
    assert orjson.loads(capsys.readouterr().out) == DOCUMENT


async def test_router_and_document_name_the_same_operations(api: Api) -> None:
    async with api.session.get("/openapi.json") as response:
        document = await response.json(content_type=None)
    documented = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    assert documented == {(route.method, route.pattern) for route in ROUTES}
    for method, path in sorted(documented):
        concrete = re.sub(r"\{\w+\}", "1", path)
        async with api.session.request(method, concrete) as response:
            envelope = await response.text()
            unknown = response.status == 404 and '"不存在"' in envelope and "/assets/" not in path
            assert not unknown, f"{method} {path} 不在路由器里"
            assert response.status != 405


def test_every_code_is_documented_somewhere() -> None:
    text = COMMITTED.read_text("utf-8")
    for code in Code:
        assert re.search(rf"\b{int(code)}\b", text), f"文档里没有 {code!r}"
    assert set(MEANINGS) == set(Code)


def test_every_route_declares_a_known_scope_or_says_it_is_open() -> None:
    for route in ROUTES:
        assert route.scope in {*SCOPES, None}
        if route.path.startswith("/api/v1") and "/health" not in route.path:
            assert route.scope is not None, f"{route.path} 没有声明权限"


def test_every_list_is_paged_in_one_way_and_says_so() -> None:
    lists = []
    for route in ROUTES:
        answer = {} if route.data is None else TypeAdapter(route.data).json_schema(mode="serialization")
        if route.method == "GET" and "next_cursor" in answer.get("properties", {}):
            lists.append(route.path)
            given = {item["name"]: item for item in DOCUMENT["paths"][route.pattern]["get"]["parameters"]}
            assert given.keys() >= {"page_size", "cursor"}
            assert {"items", "page_size", "next_cursor"} <= set(answer["required"])
    assert [path.rsplit("/", 1)[1] for path in lists] == [
        "users",
        "orders",
        "sims",
        "events",
        "changes",
        "tasks",
        "vanished",
        "schedules",
        "pauses",
        "limits",
        "workers",
        "history",
        "audit",
        "acknowledgements",
    ]


def test_two_models_of_one_name_are_a_mistake_not_a_mixture() -> None:
    components = Components()
    components.reference(create_model("Same", a=(int, ...)), answers=True)
    components.reference(create_model("Same", a=(int, ...)), answers=True)
    with pytest.raises(ValueError, match="Same"):
        components.reference(create_model("Same", a=(str, ...)), answers=True)


def documented() -> Iterator[tuple[str, dict[str, Any]]]:
    """文档里每一处带例子的内容，和它的位置。"""
    for path, methods in DOCUMENT["paths"].items():
        for method, operation in methods.items():
            where = f"{method.upper()} {path}"
            for kind, content in operation.get("requestBody", {}).get("content", {}).items():
                yield f"{where} {kind}", content
            for status in operation["responses"]:
                for kind, content in response_of(method, path, status)["content"].items():
                    yield f"{where} {status} {kind}", content
    for name, response in DOCUMENT["components"]["responses"].items():
        yield name, response["content"]["application/json"]


def test_every_body_and_every_answer_has_an_example_its_own_schema_accepts() -> None:
    for where, content in documented():
        examples = [item["value"] for item in content.get("examples", {}).values()] or [content["example"]]
        for example in examples:
            assert example is not None, where
            schema_of(content).validate(example)
        if "examples" in content:
            name = content["schema"]["$ref"].rsplit("/", 1)[1]
            codes = DOCUMENT["components"]["schemas"][name]["properties"]["code"]["enum"]
            assert [example["code"] for example in examples] == codes, where


@folded("route", ROUTES)
async def test_an_example_is_what_the_models_take_and_nothing_more(route: Endpoint) -> None:
    for shape, example in ((route.body, route.body_example), (route.body_document, route.body_example)):
        if shape is not None:
            TypeAdapter(shape).validate_json(orjson.dumps(example))
    if route.data is not None:
        TypeAdapter(route.data).validate_json(orjson.dumps(route.example), extra="forbid")


async def test_pages_and_assets_come_from_us(api: Api) -> None:
    for path in ("/", "/docs", "/assets/docs.js", "/assets/page.css", "/openapi.json"):
        async with api.session.get(path) as response:
            assert response.status == 200
            text = await response.text()
            assert path == "/openapi.json" or "http://" not in text
            assert "https://" not in text


def told(part: Any, key: str = "") -> Iterator[str]:
    """文档里说明的每一段。"""
    if isinstance(part, dict):
        for name, item in part.items():
            yield from told(item, name)
    elif isinstance(part, list):
        for item in part:
            yield from told(item, key)
    elif key in TOLD and isinstance(part, str):
        yield from part.split("\n\n")


async def test_an_english_reader_gets_the_document_in_english(api: Api) -> None:
    """一段也不少，用不着的一段也没有；别的都一样。"""
    written = set(told(DOCUMENT))
    assert set(catalogue()) <= written
    async with api.session.get("/openapi.json", headers={"Accept-Language": "en"}) as response:
        english = await response.json(content_type=None)
    assert [text for text in told(english) if HAN.search(text)] == []
    assert english["paths"].keys() == DOCUMENT["paths"].keys()
