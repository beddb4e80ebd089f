"""把一次稳态写成给人看的几行：先逐秒，再每个任务花掉什么。"""

from __future__ import annotations

from collections.abc import Mapping

from tests.bench.steady import Figures


def show(figures: Figures) -> str:
    (window,) = figures.windows
    whole, tasks = figures.whole, figures.all_tasks
    seconds = "\n".join(
        f"  第 {row.second:2} 秒  到达 {row.tasks:5}  受理 → 开始 P50 {row.p50:8.1f}  P95 {row.p95:8.1f} 毫秒"
        for row in window.seconds
    )
    return f"""\
每秒 {figures.rate:g} 个，共 {window.tasks} 个，落下 {window.left} 个；HTTP P95 {window.http.p95:.1f} 毫秒
{seconds}
受理 → 开始 P50 {window.p50:.1f}  P95 {window.p95:.1f}  P99 {window.p99:.1f} 毫秒
每个任务：
  CPU {window.cpu_of_stack / 1000:.2f} 毫秒，施压的不算；微秒：{_each(window.cpu, ".0f")}
  施压期间各占一个核的：{_each(window.busy, ".2f")}
  Redis 命令 {sum(window.commands.values()):.2f}：{_each(window.commands, ".2f")}
  PostgreSQL 提交 {whole.commits / tasks:.2f}，语句 {window.statements:.2f}，WAL {window.wal:.0f} 字节\
（整页 {whole.images / tasks:.2f} 张），tb_task 更新 {whole.record_updates / tasks:.2f}，\
全部更新 {whole.updates / tasks:.2f}，其中 HOT {whole.hot_updates / max(whole.updates, 1):.0%}"""


def _each(parts: Mapping[str, float], form: str) -> str:
    """大的在前，太小的不写。"""
    ordered = sorted(parts.items(), key=lambda part: -part[1])
    return "  ".join(f"{name} {value:{form}}" for name, value in ordered if value >= 0.005)
