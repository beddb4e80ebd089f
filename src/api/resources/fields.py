"""几种资源共用的字段。"""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from api.endpoints.reasons import refused
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
