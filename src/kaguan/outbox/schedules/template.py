"""载荷模板：文本里的 ``{today}``、``{today-3}`` 换成到期那天（或往前几天）的日期，按计划的时区。"""

from __future__ import annotations

import re
from datetime import date, timedelta
from typing import Any

PLACEHOLDER = re.compile(r"\{today(?:-(\d{1,3}))?\}")


def render(template: Any, today: date) -> Any:  # noqa: ANN401 任意 JSON 值
    """同样形状的值，占位符已换成 ISO 8601 日期。"""
    match template:
        case str():
            return PLACEHOLDER.sub(lambda found: (today - timedelta(days=int(found[1] or 0))).isoformat(), template)
        case dict():
            return {key: render(value, today) for key, value in template.items()}
        case list() | tuple():
            return [render(value, today) for value in template]
        case _:
            return template
