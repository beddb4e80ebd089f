"""几种资源共用的字段。"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from api.endpoints.reasons import reason, refused
from api.endpoints.shapes import Moment, RequestModel
from kaguan.mail.address import ADDRESS_FAULT, parse_address
from kaguan.outbox.operate.lasting import LONGEST
from kaguan.outbox.vocabulary import NOTE_LENGTH


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


class LastingRequest(RequestModel):
    """为什么、到何时；``until`` 与 ``seconds`` 给一个。"""

    reason: Annotated[str, Field(min_length=1, max_length=NOTE_LENGTH)]
    until: Until = None
    seconds: Annotated[int, Field(ge=1, le=LONGEST, description="管多少秒")] | None = None

    @model_validator(mode="after")
    def _ends(self) -> Self:
        if (self.until is None) == (self.seconds is None):
            raise reason("until 与 seconds 给一个", "give until or seconds, not both")
        return self

    @property
    def end(self) -> datetime | timedelta:
        return self.until or timedelta(seconds=self.seconds or 0)
