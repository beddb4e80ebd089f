"""文档与实现两边对齐（T103）。"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import yaml
from openapi_spec_validator import validate

from api.openapi import as_yaml, build
from api.routes import ROUTES
from kaguan.errors import MEANINGS, Code
from kaguan.tokens.service import SCOPES

if TYPE_CHECKING:
    from tests.serving import Api

DOCUMENT = Path(__file__).parents[2] / "docs" / "openapi.yaml"
SUBAPP = "/monitor"


def test_the_document_is_valid_openapi() -> None:
    validate(build(ROUTES))


def test_the_committed_document_is_the_generated_one() -> None:
    assert DOCUMENT.read_text("utf-8") == as_yaml(build(ROUTES)), "请运行 python -m api.openapi > docs/openapi.yaml"


def test_the_command_prints_the_document() -> None:
    printed = subprocess.run([sys.executable, "-m", "api.openapi"], capture_output=True, check=True)
    assert yaml.safe_load(printed.stdout) == build(ROUTES)


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
    text = as_yaml(build(ROUTES))
    for code in Code:
        assert re.search(rf"\b{int(code)}\b", text), f"文档里没有 {code!r}"
    assert set(MEANINGS) == set(Code)


def test_every_route_declares_a_known_scope_or_says_it_is_open() -> None:
    for route in ROUTES:
        assert route.scope in {*SCOPES, None}
        if route.path.startswith("/api/v1") and "/health" not in route.path:
            assert route.scope is not None, f"{route.path} 没有声明权限"


def test_every_request_body_has_an_example() -> None:
    missing = [
        route.path
        for route in ROUTES
        if route.body is not None and route.path.startswith("/api/v1/tasks") and route.body_example is None
    ]
    assert not missing


async def test_pages_and_assets_come_from_us(api: Api) -> None:
    for path in ("/", "/docs", "/assets/docs.js", "/assets/page.css", "/openapi.json"):
        async with api.session.get(path) as response:
            assert response.status == 200
            text = await response.text()
            assert path == "/openapi.json" or "http://" not in text
            assert "https://" not in text
