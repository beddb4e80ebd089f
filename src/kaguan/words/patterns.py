r"""遇到外来文本、又含无界重复的正则：都由 RE2 编译，一次匹配的时间与文本的长度成正比，与写法无关。

RE2（google-re2）没有回溯，因而没有环视与反向引用。在字节上匹配（Latin-1 模式，UTF-8 的每个字节算一个字符）：它的 Python
包装对 ``str`` 每次调用都先编码整段文本，从中间接着找就成了平方。所以 ``\w``、``\s``、``\b`` 只认 ASCII。

一次匹配是线性的，从头找到尾仍可能是平方：排在前面的选择若要看到文本末尾才知道不成立，每找一次就看一遍。用在循环里的
模式须没有这样的选择；``tests/unit/words/test_linear_growth.py`` 拿各模式自己的文字去试。
"""

from __future__ import annotations

import re
from typing import Protocol

try:
    import re2
except ImportError:  # 只装了库：那里要盖的只有请求号，长短有界
    re2 = None


class Match(Protocol):
    """一处匹配；位置是字节。"""

    def start(self, group: int = 0) -> int: ...

    def end(self, group: int = 0) -> int: ...


class Pattern(Protocol):
    """编译好的模式。"""

    @property
    def pattern(self) -> bytes: ...

    def search(self, text: bytes, pos: int = 0) -> Match | None:
        r"""从 ``pos`` 起最靠左的一处；``pos`` 之前的文本仍算 ``^``、``\b`` 的上文。"""
        ...

    def match(self, text: bytes, pos: int = 0) -> Match | None:
        """只在 ``pos`` 处匹配。"""
        ...

    def fullmatch(self, text: bytes) -> Match | None:
        """整段匹配。"""
        ...


def linear(pattern: bytes) -> Pattern:
    """编译；不分大小写（只认 ASCII 的大小写），``.`` 也匹配换行。"""
    if re2 is None:
        return re.compile(pattern, re.IGNORECASE | re.DOTALL)
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1
    options.case_sensitive = False
    options.dot_nl = True
    compiled: Pattern = re2.compile(pattern, options)
    return compiled
