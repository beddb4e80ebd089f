"""把唯一性冲突译成 409：按索引名认，不看错误文本。"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import psycopg
from sqlalchemy.exc import IntegrityError

from kaguan.words.errors import conflict


@contextmanager
def conflicts_named(refusals: Mapping[str, tuple[str, str, str]]) -> Iterator[None]:
    """块内的冲突按 ``{索引名: (字段, 中文, 英文)}`` 翻译；不在表里的照原样抛出。

    Raises:
        DomainError: 1005，指名字段。
    """
    try:
        yield
    except IntegrityError as error:
        name = error.orig.diag.constraint_name if isinstance(error.orig, psycopg.Error) else None
        refusal = refusals.get(name or "")
        if refusal is None:
            raise
        # 原错误里带着行的内容，不随异常链外传
        raise conflict(*refusal) from None
