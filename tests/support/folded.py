"""一个用例里的几种情形：不写、写了也互不相干的，共用一份夹具；起一个应用、一份库比走一遍情形还贵。"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable
from functools import wraps
from typing import Any

Test = Callable[..., Awaitable[None]]


def folded(names: str | tuple[str, ...], cases: Iterable[Any]) -> Callable[[Test], Test]:
    """与 ``parametrize`` 同样的参数，情形一个接一个地走；坏在哪一个，失败里说。"""
    parameters = (names,) if isinstance(names, str) else names
    every = list(cases)
    assert every, "一种情形也没有"

    def fold(test: Test) -> Test:
        @wraps(test)
        async def walked(**fixtures: Any) -> None:
            for case in every:
                given = dict(zip(parameters, (case,) if isinstance(names, str) else case, strict=True))
                try:
                    await test(**fixtures, **given)
                except BaseException as failure:
                    failure.add_note(f"情形：{given!r:.500}")
                    raise

        signature = inspect.signature(test)
        kept = [one for name, one in signature.parameters.items() if name not in parameters]
        vars(walked).update(__signature__=signature.replace(parameters=kept))
        return walked

    return fold
