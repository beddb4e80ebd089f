"""几种资源共用的字段。"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, Field

from api.endpoints.reasons import reason, refused
from api.endpoints.shapes import Moment
from kaguan.mail.address import ADDRESS_FAULT, parse_address


def _address(text: str) -> str:
    address = parse_address(text)
    if address is None:
        raise refused(ADDRESS_FAULT)
    return address


Address = Annotated[
    str, Field(min_length=3, max_length=254, json_schema_extra={"format": "email"}), AfterValidator(_address)
]
Remark = Annotated[str, Field(max_length=500)]
Until = Annotated[Moment | None, Field(description="到何时，RFC 3339；至多三十天之后")]


def require_one_end(until: datetime | None, seconds: int | None) -> None:
    """期限只有一种说法。

    Raises:
        PydanticCustomError: 到何时、多少秒，都给了或都没给。
    """
    if (until is None) == (seconds is None):
        raise reason("until 与 seconds 给一个", "give until or seconds, not both")
