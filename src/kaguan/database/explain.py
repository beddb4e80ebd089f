"""只问一条查询的计划，不执行它。"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import Executable
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.elements import ClauseElement

if TYPE_CHECKING:
    from sqlalchemy import Select
    from sqlalchemy.sql.compiler import SQLCompiler


class Explain(Executable, ClauseElement):
    """``EXPLAIN (FORMAT JSON)`` 一条查询：只规划，不执行。"""

    inherit_cache = False

    def __init__(self, statement: Select[*tuple[Any, ...]]) -> None:
        self.statement = statement


@compiles(Explain)
def _compile_explain(element: Explain, compiler: SQLCompiler, **options: object) -> str:
    return "EXPLAIN (FORMAT JSON) " + compiler.process(element.statement, **options)
