"""schemathesis 之外的一条检查：文档认识的响应头，没说就不该来。"""

from __future__ import annotations

from typing import Any

import schemathesis

from tests.contracts.documented import header_faults, response_of


@schemathesis.check
def no_undocumented_header(_ctx: object, response: Any, case: Any) -> None:
    method, status = response.request.method, str(response.status_code)
    if method.lower() != case.method.lower() or status not in case.operation.definition.raw["responses"]:
        return
    declared = response_of(case.operation.method, case.operation.path, status)["headers"]
    faults = header_faults(declared, dict.fromkeys(response.headers, ""))
    assert not faults, f"{method} {case.operation.path} {status}: {faults}"
