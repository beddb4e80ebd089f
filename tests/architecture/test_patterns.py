"""正则只在看过的地方用：标准库的引擎会回溯，一条不慎的模式就能让任何人用一小段文本停住整个进程。

新用 ``re`` 的模块在这里就红：遇到外来文本、又有无界重复的，用 :func:`kaguan.words.patterns.linear`；否则写进
:data:`REVIEWED`，说明它为什么安全。每一条（两种引擎）另由
``tests/unit/words/test_linear_growth.py`` 用它自己的零件去试。
"""

from __future__ import annotations

import ast

from tests.architecture.source import nodes
from tests.support.source_patterns import trees

SHORT = "整段匹配一个有界的字符类"
OWN = "只遇到我们自己的文本"
# 用标准库 re 的模块，与为什么可以
REVIEWED = {
    "api/endpoints/binding.py": SHORT,
    "api/http/context.py": SHORT,
    "api/endpoints/endpoint.py": f"{OWN}：路由模板",
    "api/endpoints/idempotency.py": SHORT,
    "api/endpoints/preconditions.py": "整段匹配；相邻的重复互不相容，回溯不动",
    "api/endpoints/shapes.py": SHORT,
    "kaguan/sessions/service.py": SHORT,
    "kaguan/database/sql.py": f"{OWN}：.sql 文件，随包发布",
    "kaguan/database/observed.py": f"{OWN}：SQL 来自 .sql 文件与 SQLAlchemy，参数不在其中",
    "kaguan/dev/directory.py": f"{OWN}：写环境文件",
    "kaguan/dev/traceview/jaeger_api.py": "两段有界的数字与单位",
    "kaguan/words/patterns.py": "没有 RE2 时的替身：只装了库的，盖的是至多 128 字的请求号",
    "kaguan/words/language.py": "整段匹配，相邻的重复互不相容；至多 16 段",
    "kaguan/mail/address.py": "至多 254 个字符；逐段由点号隔开",
    "kaguan/mail/header.py": "整段匹配；词与单个空格互不相容",
    "kaguan/config/schedules.py": f"{OWN}：配置里的时间表",
    "kaguan/outbox/schedule/checking.py": f"{OWN}：配置里的模板；有界的数字",
    "kaguan/outbox/front.py": f"{OWN}：代码里声明的名字",
    "kaguan/outbox/task_type.py": f"{OWN}：代码里声明的名字",
    "kaguan/sims/iccid.py": "一个字符类的重复；整段匹配有界的数字",
    "kaguan/sims/identity.py": SHORT,
    "kaguan/sims/importing.py": "一个字符类的重复；整格匹配",
    "kaguan/sims/search.py": "一个字符类的重复；整段匹配有界的数字",
    "kaguan/telemetry/propagation.py": "定长的十六进制；余下的一段到末尾为止",
    "kaguan/tokens/service.py": SHORT,
    "workers/email/session.py": "行首的一个点",
}
ENGINES = {"re", "regex", "re2", "sre_compile", "fnmatch", "glob"}


def imported(tree: ast.Module) -> set[str]:
    names = {alias.name for node in nodes(tree, ast.Import) for alias in node.names}
    return names | {node.module or "" for node in nodes(tree, ast.ImportFrom)}


def test_regular_expressions_are_used_only_where_reviewed() -> None:
    users = {file for file, tree in trees().items() if imported(tree) & (ENGINES - {"re2"})}
    assert users == set(REVIEWED), "新用到的写进 REVIEWED 并说明理由，不用了的删掉"


def test_the_linear_engine_is_imported_in_one_place_only() -> None:
    assert [file for file, tree in trees().items() if "re2" in imported(tree)] == ["kaguan/words/patterns.py"]


def test_patterns_are_compiled_once_at_module_level_so_that_the_growth_test_sees_them() -> None:
    """``re.sub("…", …)`` 之类在调用时才编译，收集不到。"""
    called = [(file, ast.unparse(node.func)) for file in REVIEWED for node in nodes(trees()[file], ast.Call)]
    of_re = [(file, name) for file, name in called if name.startswith("re.")]
    assert {name for _, name in of_re} == {"re.compile"}, of_re


def test_the_check_sees_an_import() -> None:
    for source in ("import re", "from re import compile", "import regex as re", "import fnmatch"):
        assert imported(ast.parse(source)) & ENGINES
