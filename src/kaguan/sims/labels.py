"""人给卡起的名字：套餐、分组、客户、标签，与备注。"""

from __future__ import annotations

LABEL_MAX, TAG_MAX, TAGS_MAX, REMARK_MAX = 50, 20, 10, 500
UNTIDY = ("两头不得有空白，不得有控制字符", "no blanks at either end, no control characters")


def is_tidy(text: str) -> bool:
    """看得见的字，两头没有空白，筛选时才对得上。"""
    return text == text.strip() and text.isprintable()
