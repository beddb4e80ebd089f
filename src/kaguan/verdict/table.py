"""判断记着的事的表。"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from kaguan.database.metadata import Base


class RememberedConcern(Base):
    """一件刚说过的事：各种轻重最后看见的时刻、从何时起、说它要用的。"""

    __tablename__ = "tb_concern"

    name: Mapped[str] = mapped_column(Text, primary_key=True)
    entry: Mapped[dict[str, Any]] = mapped_column(JSONB)
