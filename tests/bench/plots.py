"""图：先攒成数，最后才画。matplotlib 只有 `make bench` 装；没有就不画，表照出。"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

Words = tuple[str, str]  # 中文，英文：没有中文字体的机器用后一个
SIZE = (8.0, 4.5)  # 英寸
FEW = 20  # 点少才一个个标出来
FONTS = ("Noto Sans CJK SC", "Noto Sans CJK JP", "Source Han Sans SC", "PingFang SC", "WenQuanYi Zen Hei")


@dataclass(frozen=True, slots=True)
class Line:
    """一条线。``right`` 用右边的轴。"""

    label: Words
    points: Sequence[tuple[float, float]]
    right: bool = False


@dataclass(frozen=True, slots=True)
class Plot:
    """一张图。``file`` 是文件名，不带后缀；``log_x``、``log_y`` 用对数轴。"""

    file: str
    title: Words
    across: Words
    up: Words
    lines: Sequence[Line]
    up_right: Words | None = None
    log_x: bool = False
    log_y: bool = False


def drawable() -> bool:
    return find_spec("matplotlib") is not None


def draw(plots: Sequence[Plot], folder: Path) -> None:
    """每张一个 SVG。"""
    import matplotlib as mpl
    from matplotlib import font_manager
    from matplotlib.figure import Figure

    installed = set(font_manager.get_font_names())
    family = [font for font in FONTS if font in installed]
    language = 0 if family else 1
    folder.mkdir(parents=True, exist_ok=True)
    # 字变成曲线：看图的人没有这些字体也认得；固定的盐、不写日期，同样的数画出同样的文件
    with mpl.rc_context({"font.family": [*family, "sans-serif"], "svg.fonttype": "path", "svg.hashsalt": "kaguan"}):
        for plot in plots:
            figure = Figure(figsize=SIZE, layout="constrained")
            left = figure.add_subplot(
                title=plot.title[language],
                xlabel=plot.across[language],
                ylabel=plot.up[language],
                xscale="log" if plot.log_x else "linear",
                yscale="log" if plot.log_y else "linear",
            )
            right = left.twinx() if plot.up_right else left
            if plot.up_right:
                right.set_ylabel(plot.up_right[language])
            drawn = [
                (right if line.right else left).plot(
                    *zip(*line.points, strict=True),
                    label=line.label[language],
                    color=f"C{number}",
                    linestyle="--" if line.right else "-",
                    marker="o" if len(line.points) < FEW else None,
                    markersize=4,
                )[0]
                for number, line in enumerate(plot.lines)
            ]
            for axes in {left, right}:
                if not plot.log_y:
                    axes.set_ylim(bottom=0)
            left.grid(alpha=0.3)
            left.legend(handles=drawn, fontsize="small")
            figure.savefig(folder / f"{plot.file}.svg", metadata={"Date": None})
