"""`make prove P=model`：全部检查，含大规模的，打印一张表。有一项不如预期即退出 1。"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.model.checks import BROKEN, FORGETFUL, GOOD, LARGE, SPARE
from tests.model.spin import Check, run


def verdict(check: Check) -> bool:
    with tempfile.TemporaryDirectory(prefix="kaguan-model-") as directory:
        report = run(check, Path(directory))
    as_expected = report.complete if check.violates is None else check.violates in (report.violated or "")
    if check.violates is None:
        as_expected = as_expected and report.violated is None
    result = f"反例 {report.depth} 步：`{report.violated}`" if report.violated else "通过"
    print(
        f"| {'✓' if as_expected else '✗'} | {' '.join(check.flags)} | {check.proves} | {report.states:,} |"
        f" {report.seconds:.1f} | {result} |",
        flush=True,
    )
    return as_expected


def main() -> int:
    print("| | 规模与开关 | 说明 | 状态数 | 秒 | 结论 |\n| --- | --- | --- | --- | --- | --- |")
    verdicts = [verdict(check) for check in (*GOOD, *SPARE, *BROKEN, *LARGE, *FORGETFUL)]
    return 0 if all(verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
