"""OpenAPI 3.1 文档，从路由的声明生成。"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from importlib.metadata import version
from inspect import cleandoc
from typing import Any

import yaml

from api.endpoints.endpoint import Endpoint
from api.openapi.parts import Components, error_response, error_responses, parameters, request_body, success_response
from kaguan.words.errors import MEANINGS, Code

# 标签是生成的客户端里的模块名：英文；页面上显示的是说明
TAGS = {
    "users": "用户", "orders": "订单", "sims": "SIM", "tasks": "任务", "schedules": "定时计划", "pauses": "暂停",
    "limits": "限额", "workers": "worker", "audit": "审计", "health": "健康",
    "operations": "运维", "docs": "文档",
}  # fmt: skip
DESCRIPTION = """卡管：物联网卡管理后端。写操作在一个 PostgreSQL 事务里落库，返回 2xx 之后工作一定会做完。

- 每个 JSON 应答都是信封 `{"code", "msg", "data", "request_id", "timestamp"}`；`code` 为 0 即成功。
- `Accept-Language: en` 得到英文说明；`X-Request-ID` 可以自带，也会返回。
- 没有的路径 404（1004），路径收别的方法 405（`MethodNotAllowed`，`Allow` 列出它们）。
- 除 `/health/live` 之外都限流（其余的健康检查另有一份额度），`RateLimit` 说余额；429 与 503 必带 `Retry-After`。
- 出错的应答带 `Link: </docs#code-1001>; rel="help"`：那个错误码在这一页的哪里。
- `POST` 可带 `Idempotency-Key`：首个成功的应答会被原样重放。
"""


def build(routes: Sequence[Endpoint]) -> dict[str, Any]:
    """整份文档。"""
    components = Components()
    names = Counter(route.name for route in routes)
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        unique = route.name if names[route.name] == 1 else f"{route.name}{route.pattern.replace('/', '_')}"
        paths.setdefault(route.pattern, {})[route.method.lower()] = _operation(route, unique, components)
    # 哪条路由都给不出 405（方法在就不会有），所以只在共用的应答里
    error_response([Code.METHOD_NOT_ALLOWED], components, "MethodNotAllowed")
    return {
        "openapi": "3.1.0",
        "info": {"title": "kaguan API", "version": version("kaguan"), "description": DESCRIPTION + _code_table()},
        "servers": [{"url": "/"}],
        "tags": [
            {"name": tag, "description": TAGS.get(tag, tag)} for tag in dict.fromkeys(route.tag for route in routes)
        ],
        "paths": paths,
        "components": {
            "schemas": dict(sorted(components.schemas.items())),
            "responses": dict(sorted(components.responses.items())),
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": "`kaguan token create` 签发的 `kg_…` 令牌"}
            },
        },
    }


def _code_table() -> str:
    rows = [
        f"| {int(code)} | {int(meaning.status)} | {meaning.zh} | {meaning.en} |" for code, meaning in MEANINGS.items()
    ]
    return "\n".join(["", "| 码 | HTTP | 含义 | meaning |", "| --- | --- | --- | --- |", *rows, ""])


def _operation(route: Endpoint, name: str, components: Components) -> dict[str, Any]:
    operation: dict[str, Any] = {"operationId": name, "tags": [route.tag], "summary": route.summary}
    description = cleandoc(route.handler.__doc__ or "")  # 3.13 起编译时就去掉缩进，从前的没有
    if route.scope is not None:
        description = f"{description}\n\n权限：`{route.scope}`".strip()
    if description:
        operation["description"] = description
    operation["security"] = [] if route.scope is None else [{"token": []}]
    if given := parameters(route, components):
        operation["parameters"] = given
    if body := request_body(route, components):
        operation["requestBody"] = body
    operation["responses"] = {
        **{str(int(status)): success_response(route, components) for status in (route.success, *route.other_success)},
        **error_responses(route, components),
    }
    return operation


class _Plain(yaml.SafeDumper):
    """不用锚点：重复就重复写，人读得懂。"""

    def ignore_aliases(self, data: object) -> bool:
        del data
        return True


def as_yaml(document: dict[str, Any]) -> str:
    return yaml.dump(document, Dumper=_Plain, allow_unicode=True, sort_keys=False, width=120)
