"""OpenAPI 文档的零件：参数、请求体、应答、共用的模式。"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydantic import TypeAdapter

from api.endpoints.endpoint import Endpoint
from api.http.envelope import JSON
from api.openapi.headers import error_headers, success_headers
from kaguan.words.errors import MEANINGS, Code
from kaguan.words.spreadsheet import MEDIA_TYPE
from kaguan.words.units import KIB

REFERENCE = "#/components/schemas/{model}"
REQUEST_ID = "01989f2e-0000-7000-8000-000000000000"
TIMESTAMP = "2026-01-01T00:00:00.000000Z"

_PATH_SCHEMAS: dict[str, dict[str, Any]] = {
    "int": {"type": "integer", "format": "int64", "minimum": 1, "maximum": 2**63 - 1},
    "uuid": {"type": "string", "format": "uuid"},
    "number": {"type": "string", "minLength": 1, "maxLength": 64, "pattern": r"^[^/\s]*[^/\sa-z][^/\s]*$"},
    "str": {"type": "string", "minLength": 1, "maxLength": 64, "pattern": r"^[^/\s]+$"},
}


# 不是信封的应答；事件流的模式有人当作整条流、有人当作每个事件，所以只说文字
_RAW: dict[str, dict[str, Any]] = {
    "application/vnd.oai.openapi+json": {"type": "object"},
    "text/event-stream": {"description": "每次变化一个 `task` 事件，`data` 是任务详情"},
    "text/html": {"type": "string"},
    "text/css": {"type": "string"},
    MEDIA_TYPE: {"type": "string"},
    "text/plain": {"type": "string"},
}


# 发件箱给库的用户的说明是英文的，这里的随接口文档
_DESCRIBED = {"Priority": {"description": "优先级，也是队列名。"}, "TaskStatus": {"description": "任务的状态。"}}


class Components:
    """共用的模式，边生成边收集。"""

    def __init__(self) -> None:
        self.schemas: dict[str, Any] = {"ErrorData": _ERRORS}
        self.responses: dict[str, Any] = {}

    def reference(self, shape: Any, *, answers: bool) -> dict[str, Any]:
        """``shape`` 的模式；模型放进 components，返回引用。"""
        schema = TypeAdapter(shape).json_schema(
            ref_template=REFERENCE, mode="serialization" if answers else "validation"
        )
        self.define(schema.pop("$defs", {}))
        title = schema.get("title")
        if title is None or schema.get("type") != "object":
            return schema
        return self.shared("".join(character if character.isalnum() else "_" for character in title).strip("_"), schema)

    def shared(self, name: str, schema: dict[str, Any]) -> dict[str, Any]:
        """以 ``name`` 收下，返回引用：一处一个名字，生成的客户端才不会一处一个类。"""
        self.define({name: schema})
        return {"$ref": REFERENCE.format(model=name)}

    def define(self, schemas: dict[str, Any]) -> None:
        """收下这些模式。

        Raises:
            ValueError: 两个模型同名而形状不同。
        """
        for name, generated in schemas.items():
            schema = {**generated, **_DESCRIBED.get(name, {})}
            if self.schemas.setdefault(name, schema) != schema:
                raise ValueError(f"两个不同的模型都叫 {name}")


def parameters(route: Endpoint, components: Components) -> list[dict[str, Any]]:
    """路径、查询与请求头参数。"""
    found: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": _PATH_SCHEMAS[kind]}
        for name, kind in route.parameters.items()
    ]
    if route.query is not None:
        schema = TypeAdapter(route.query).json_schema(ref_template=REFERENCE)
        components.define(schema.pop("$defs", {}))
        required = schema.get("required", [])
        found += [
            {"name": name, "in": "query", "required": name in required, **_told(_without_null(prop))}
            for name, prop in schema.get("properties", {}).items()
        ]
    if route.idempotent:
        schema = {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"}
        found.append({"name": "Idempotency-Key", "in": "header", "required": False, "schema": schema,
                      "description": "同键同体重放首个应答；同键异体 422；首个未完 409"})  # fmt: skip
    if Code.PRECONDITION_FAILED in route.errors:
        found.append(
            {
                "name": "If-Match",
                "in": "header",
                "required": False,
                "schema": {"type": "string", "pattern": r'^(\*|"[1-9][0-9]{0,9}")$'},
                "description": "只在版本相符时执行",
            }
        )
    return found


def _told(schema: dict[str, Any]) -> dict[str, Any]:
    """模式，连同参数自己的说明：工具只看参数的，不看模式里的。"""
    bare = {name: value for name, value in schema.items() if name != "description"}
    return {"schema": bare} if bare == schema else {"description": schema["description"], "schema": bare}


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """查询参数没有 null 这个写法：去掉它的选项与默认值。"""
    options = [item for item in schema.get("anyOf", []) if item.get("type") != "null"]
    kept = {key: value for key, value in schema.items() if key != "anyOf" and (key, value) != ("default", None)}
    if not options:
        return kept
    return {**options[0], **kept} if len(options) == 1 else {**kept, "anyOf": options}


def request_body(route: Endpoint, components: Components) -> dict[str, Any] | None:
    shape = route.body_document or route.body
    if shape is None:
        return None
    content = {"schema": components.reference(shape, answers=False), "example": route.body_example}
    return {"description": _size(route.body_limit), "required": True, "content": {JSON: content}}


def _size(limit: int | None) -> str:
    return "大小至多 `api.body_limit`（默认 16 MiB）" if limit is None else f"大小至多 {limit // KIB} KiB"


def success_response(route: Endpoint, components: Components) -> dict[str, Any]:
    headers = success_headers(route)
    if route.produces != JSON:
        content = {"schema": _RAW[route.produces], "example": route.example}
        return {"description": "成功", "headers": headers, "content": {route.produces: content}}
    data = {"type": "null"} if route.data is None else components.reference(route.data, answers=True)
    name = data.get("$ref", "/Empty").rsplit("/", 1)[1].removesuffix("View") + "Answer"
    schema = components.shared(name, _envelope(data, [Code.OK]))
    answers: dict[str, Any] = {JSON: {"schema": schema, "example": _example(Code.OK, route.example)}}
    if route.csv:
        answers[MEDIA_TYPE] = {"schema": _RAW[MEDIA_TYPE], "example": route.csv}
    return {"description": "成功", "headers": headers, "content": answers}


def error_responses(route: Endpoint, components: Components) -> dict[str, Any]:
    """按 HTTP 状态归拢的错误；同一状态可以有几个码，各有一例。"""
    by_status: dict[int, list[Code]] = {}
    for code in sorted(_error_codes(route)):
        by_status.setdefault(int(MEANINGS[code].status), []).append(code)
    answers = {}
    for status, codes in sorted(by_status.items()):
        answers[str(status)] = error_response(codes, components)
    return answers


def error_response(codes: list[Code], components: Components, name: str | None = None) -> dict[str, Any]:
    """这些码的应答；放进 components（不另取名就叫 ``Error`` 加各码），返回引用。"""
    own = "Error" + "_".join(str(int(code)) for code in codes)
    components.responses.setdefault(name or own, _error(codes, own, components))
    return {"$ref": f"#/components/responses/{name or own}"}


def _error(codes: list[Code], name: str, components: Components) -> dict[str, Any]:
    data = {"anyOf": [{"$ref": "#/components/schemas/ErrorData"}, {"type": "null"}]}
    examples = {str(int(code)): {"value": _example(code, _error_data(code))} for code in codes}
    return {
        "description": "；".join(f"{int(code)} {MEANINGS[code].zh}" for code in codes),
        "headers": error_headers(codes),
        "content": {JSON: {"schema": components.shared(name, _envelope(data, codes)), "examples": examples}},
    }


def _error_codes(route: Endpoint) -> set[Code]:
    codes = {
        Code.INVALID_PARAMETERS,
        Code.TOO_MANY_REQUESTS,
        Code.INTERNAL,
        Code.DATABASE_UNAVAILABLE,
        Code.TIMED_OUT,
        Code.BODY_TOO_LARGE,
        *route.errors,
    }
    if route.scope is not None:
        codes |= {Code.NOT_AUTHENTICATED, Code.NOT_ALLOWED}
    if route.body is not None:
        codes |= {Code.MALFORMED_JSON, Code.UNSUPPORTED_MEDIA_TYPE}
    if route.idempotent:
        codes |= {Code.IDEMPOTENCY_KEY_REUSED, Code.REQUEST_IN_FLIGHT}
    if route.guards_backlog:
        codes.add(Code.OVERLOADED)
    return codes


def _envelope(data: dict[str, Any], codes: Iterable[Code]) -> dict[str, Any]:
    return {
        "type": "object",
        "required": ["code", "msg", "data", "request_id", "timestamp"],
        "additionalProperties": False,
        "properties": {
            "code": {"type": "integer", "enum": [int(code) for code in codes]},
            "msg": {"type": "string"},
            "data": data,
            "request_id": {"type": "string"},
            "timestamp": {"type": "string", "format": "date-time"},
            "trace_id": {"type": "string", "pattern": "^[0-9a-f]{32}$", "description": "有跟踪的请求才有"},
        },
    }


def _example(code: Code, data: object) -> dict[str, Any]:
    return {
        "code": int(code),
        "msg": MEANINGS[code].zh,
        "data": data,
        "request_id": REQUEST_ID,
        "timestamp": TIMESTAMP,
    }


def _error_data(code: Code) -> dict[str, Any] | None:
    return {"errors": [{"field": "name", "reason": "必填"}]} if code is Code.INVALID_PARAMETERS else None


_ERRORS: dict[str, Any] = {
    "type": "object",
    "description": "错误的细节；参数错误时 `errors` 一次列出全部出错字段",
    "properties": {
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["field", "reason"],
                "properties": {"field": {"type": "string"}, "reason": {"type": "string"}},
            },
        }
    },
}
