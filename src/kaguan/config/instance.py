"""这一套的样子：叫什么、什么颜色、手册在哪里。"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from kaguan.config.model import Group
from kaguan.config.values import PageUrl

PRINTABLE = r"^(\S(.*\S)?)?$"  # 两头没有空白，不换行


class Colour(StrEnum):
    """控制台顶上的一道颜色；样式表里各有明暗两种。"""

    NONE = ""
    GREEN = "green"
    BLUE = "blue"
    AMBER = "amber"
    RED = "red"
    PURPLE = "purple"
    GREY = "grey"


class Instance(Group):
    """这一套叫什么、什么颜色：开着几个控制台的人一眼分得清生产与试验。"""

    name: Annotated[str, Field(max_length=40, pattern=PRINTABLE)] = ""
    colour: Colour = Colour.NONE
    runbooks: PageUrl = ""  # 运维手册放在哪个网页；判断里的每件事链到它的一节，空 = 只说是哪一节
