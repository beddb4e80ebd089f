"""文档怎么说一个应答：它的模式、它的头。"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from typing import Any

from jsonschema_rs import Draft202012Validator

from api.openapi.document import build
from api.openapi.headers import HEADERS
from api.routes import ROUTES

DOCUMENT = build(ROUTES)


def response_of(method: str, pattern: str, status: int | str) -> dict[str, Any]:
    """文档里的那个应答，引用已解开。"""
    response: dict[str, Any] = DOCUMENT["paths"][pattern][method.lower()]["responses"][str(status)]
    if "$ref" in response:
        return DOCUMENT["components"]["responses"][response["$ref"].rsplit("/", 1)[1]]  # type: ignore[no-any-return]
    return response


def schema_of(content: Mapping[str, Any]) -> Draft202012Validator:
    return _compiled(json.dumps(content["schema"], sort_keys=True))


@cache
def _compiled(schema: str) -> Draft202012Validator:
    """几百处内容，只有几十种模式；编译一次要连同全部组件。"""
    return Draft202012Validator({**json.loads(schema), "components": DOCUMENT["components"]}, validate_formats=True)


def header_faults(declared: Mapping[str, Any], sent: Mapping[str, str]) -> list[str]:
    """说好要有而没有的，和没说就来了的（只论文档认识的那些头）。"""
    names = {name.lower() for name in sent}
    missing = [f"缺 {name}" for name, header in declared.items() if header["required"] and name.lower() not in names]
    return missing + [f"没说有 {name}" for name in HEADERS if name.lower() in names and name not in declared]
