"""schemathesis 走遍全部操作：应答符合文档，没有 5xx。"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from api.openapi import build
from api.routes import ROUTES

if TYPE_CHECKING:
    from tests.serving import Api

EXAMPLES = 25  # 每个操作；再多就超出一分钟
CHECKS = (
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
)
STREAMS = "/events"
OTHER_TYPES = ("/assets/", "/metrics", "/openapi.json")  # 媒体类型随内容而变


async def test_every_operation_answers_as_documented(api: Api) -> None:
    base = str(api.session._base_url).rstrip("/")  # noqa: SLF001 aiohttp 没有公开的取法
    await asyncio.to_thread(explore, base, api.token)


def explore(base: str, token: str) -> None:
    schema = schemathesis.openapi.from_dict(build(ROUTES))
    seen = 0
    for result in schema.get_all_operations():
        operation = result.ok()  # type: ignore[union-attr] # 文档无效时就该在这里失败
        if operation.path.endswith(STREAMS):
            continue
        check_operation(operation, base, token)
        seen += 1
    assert seen == len([route for route in ROUTES if not route.path.endswith(STREAMS)])


def check_operation(operation: Any, base: str, token: str) -> None:
    checks = [
        check for check in CHECKS if not operation.path.startswith(OTHER_TYPES) or check is not content_type_conformance
    ]

    @settings(
        max_examples=EXAMPLES, deadline=None, database=None, derandomize=True, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(case=operation.as_strategy())
    def run(case: Any) -> None:
        case.call_and_validate(base_url=base, headers={"Authorization": f"Bearer {token}"}, checks=checks)

    run()
