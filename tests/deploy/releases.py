"""两版各造成 wheel，各装进检出之外的一个环境；战役的零件（记账的处理器、会跳的钟）各用那一版的，随在旁边。"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from kaguan.dev.program import minimal_environment
from tests.chaos.fleet import Release
from tests.deploy import previous
from tests.e2e.wheels import build, install, run
from tests.support.repository import ROOT, tracked

Damage = Callable[[Path], None]

WHERE = "import api, kaguan, relay, workers; print(*(one.__file__ for one in (api, kaguan, relay, workers)))"


def previous_release(place: Path, *, alone: bool) -> Release:
    """上一版。

    Args:
        place: 装在这里。
        alone: 依赖照它锁定的清单新装；否则链接眼下这个环境里的。

    Raises:
        AbsentError: 没有上一版的提交。
    """
    source = place / "source"
    source.mkdir(parents=True)
    previous.unpack(source)
    return _ship(source, place, alone=alone)


def this_release(place: Path, damage: Damage | None = None, *, alone: bool) -> Release:
    """工作树里的这一版；``damage`` 在造 wheel 之前弄坏它的源码。"""
    source = place / "source"
    for name in tracked():
        if name.startswith(previous.PARTS):
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, source / name)
    if damage is not None:
        damage(source)
    return _ship(source, place, alone=alone)


def _ship(source: Path, place: Path, *, alone: bool) -> Release:
    """造、装、核对，源码随即删去。"""
    wheel = build(source, place / "dist")
    installed = install(place, wheel, source / previous.REQUIREMENTS if alone else None)
    shutil.copytree(source / "tests", place / "application" / "tests")
    shutil.rmtree(source)
    release = Release(str(installed.python), place / "application", installed.package / "_shipped" / "processes")
    told = run(release.python, "-c", WHERE, folder=release.folder, environ=release.environment)
    inside = [Path(file).is_relative_to(installed.package) for file in told.stdout.split()]
    if inside != [True] * 4:
        raise RuntimeError(f"跑的不是装好的那一份：{told.stdout}{told.stderr}")
    return release


def kaguan(release: Release, database: str, *words: str) -> str:
    """用 ``release`` 装好的 ``kaguan`` 跑一条命令；返回它说的话，退出码不是 0 即抛异常。"""
    environment = {**minimal_environment(), "KAGUAN_ENV": "dev", "KAGUAN_DATABASE__URL": database}
    command = str(Path(release.python).with_name("kaguan"))
    done = run(command, *words, folder=release.folder, environ=environment)
    if done.returncode:
        raise RuntimeError(f"kaguan {' '.join(words)}：退出码 {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout
