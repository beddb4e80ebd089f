"""证据的一页：跑过的每一轮，没过的是什么，跳过的是什么缘由；还差哪些轮次。"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tests.prove.rounds import Result, Round

HEAD = """| 哪里 | 第几遍 | 结果 | 用例 | 分钟 | CPU 秒 | 提交 | 何时 | 主机 |
| --- | --- | --- | --- | --- | --- | --- | --- | --- |
"""
NAMES = {"passed": "过", "failed": "没过", "error": "出错", "skipped": "跳过"}


def document(
    title: str,
    name: str,
    meaning: Mapping[str, str],
    results: Sequence[Result],
    played: Sequence[Result],
    left: Sequence[Round],
) -> str:
    """整页；``played`` 是这份代码跑过的，一轮也没有的就写最近一轮的提交；``left`` 是还没有跑的。"""
    lines = "".join(f"| {line} |\n" for line in map(_line, results))
    commits = "".join(
        f"- 提交：{commit}\n" for commit in dict.fromkeys(one.commit[:12] for one in played or results[-1:])
    )
    parts = "\n".join(f"- {part}：{told}。" for part, told in meaning.items())
    return (
        f"# {title}\n\n由 `make prove P={name}` 写成，不手改。一轮没过也留在表里，换一个提交才再跑。\n\n{parts}\n\n"
        f"{_verdict(results, left)}\n\n{commits}\n{HEAD}{lines}{_details(results)}"
    )


def _verdict(results: Sequence[Result], left: Sequence[Round]) -> str:
    failed = sum(bool(one.problems) for one in results)
    missing = "、".join(f"{one.part} {one.number}" for one in left) or "没有"
    return f"跑过 {len(results)} 轮，没过的 {failed} 轮；这份代码还没有跑的：{missing}。"


def _line(one: Result) -> str:
    counts = "，".join(f"{NAMES.get(name, name)} {number}" for name, number in one.counts.items()) or "—"
    told = f"**没过**：{len(one.problems)} 处" if one.problems else "过了"
    cells = (
        one.part,
        str(one.number),
        told,
        counts,
        f"{one.seconds / 60:.0f}",
        f"{one.cpu:.0f}",
        one.commit[:12],
        one.began,
        one.host,
    )
    return " | ".join(cells)


def _details(results: Sequence[Result]) -> str:
    found = []
    for one in results:
        lines = [*(f"- {problem}" for problem in one.problems), *(f"- 跳过：{reason}" for reason in one.skipped)]
        if lines:
            found.append(f"\n## {one.part} {one.number}，{one.commit[:12]}\n\n" + "\n".join(lines) + "\n")
    return "".join(found)
