"""把 pydantic 的错误说成中英文的人话，字段写成 ``to[0]``、``user.email``。"""

from __future__ import annotations

from pydantic import ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from kaguan.words.errors import FieldError
from kaguan.words.reasons import Reason
from kaguan.words.wrong import both, wrong

MAX_REPORTED = 100

NULL_PREVIEW = ("preview 不能是 null", "preview must not be null")


def reason(zh: str, en: str) -> PydanticCustomError:
    """在模型的校验器里抛出它：两种语言都带上。"""
    return PydanticCustomError("reason", "{en}", {"zh": zh, "en": en})


def refused(why: Reason) -> PydanticCustomError:
    """同 :func:`reason`：领域说得出的。"""
    return reason(why.text("zh"), why.text("en"))


def worded(error: ValueError) -> PydanticCustomError:
    """同 :func:`reason`：发件箱的库说的，英文与中文之间隔着「 / 」。"""
    return reason(*both(error))


def field_errors(error: ValidationError, most: int = MAX_REPORTED, skip: int = 0) -> tuple[FieldError, ...]:
    """全部出错字段，至多 ``most`` 个；从不带上输入值。``skip`` 去掉路径开头的几段。"""
    items = error.errors(include_url=False)[:most]
    return tuple(FieldError(_path((*item["loc"][skip:], *_discriminator(item))), *_reason(item)) for item in items)


def _discriminator(item: ErrorDetails) -> tuple[str, ...]:
    """类型标签本身的错：pydantic 只指到整个对象。"""
    return (item["ctx"]["discriminator"].strip("'"),) if item["type"].startswith("union_tag_") else ()


def _reason(item: ErrorDetails) -> tuple[str, str]:
    if item["type"] == "reason":
        return item["ctx"]["zh"], item["ctx"]["en"]
    return wrong(item)


def _path(location: tuple[int | str, ...]) -> str:
    path = ""
    for part in location:
        if isinstance(part, int):
            path += f"[{part}]"
        else:
            # 键名来自用户：截短，并去掉写不进应答的字符
            name = part[:100].encode("utf-8", "replace").decode()
            path += f".{name}" if path else name
    return path or "body"
