"""schemathesis 之外的：文档认识的响应头，没说就不该来；合文档的幂等键一次一个。"""

from __future__ import annotations

from itertools import count
from typing import Any

import schemathesis

from api.endpoints.idempotency import HEADER
from tests.contracts.documented import header_faults, response_of

LONGEST = 200  # 字节；再长的加不得，也碰不巧
CALLS = count()


@schemathesis.hook
def before_call(_ctx: object, case: Any, _kwargs: object) -> None:
    """同一个键重放同一个受理：建的东西早已删了，照约定就该找不到。"""
    key = (case.headers or {}).get(HEADER)
    if key and len(key) < LONGEST and case.meta.generation.mode.value == "positive":
        case.headers[HEADER] = f"{key}{next(CALLS)}"


@schemathesis.check
def no_undocumented_header(_ctx: object, response: Any, case: Any) -> None:
    method, status = response.request.method, str(response.status_code)
    if method.lower() != case.method.lower() or status not in case.operation.definition.raw["responses"]:
        return
    declared = response_of(case.operation.method, case.operation.path, status)["headers"]
    faults = header_faults(declared, dict.fromkeys(response.headers, ""))
    assert not faults, f"{method} {case.operation.path} {status}: {faults}"
