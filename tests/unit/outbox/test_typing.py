"""载荷与类型对不上的，检查类型时就知道：mypy ``--strict`` 与 pyright，都不要插件。"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from kaguan.outbox import Effect, Payload, TaskType
from kaguan.outbox.accept.acceptance import Submission
from tests.support.eventually import PATIENCE

PROGRAM = """
from kaguan.outbox import Attempt, Done, Effect, Happened, Outbox, Payload, TaskType, VerifiedOutcome
from kaguan.outbox.accept.acceptance import Submission


class Parcel(Payload):
    v: int = 2
    street: str
    floor: int = 0  # since version 2


class Letter(Payload):
    text: str


LETTER = TaskType("letter:send", Letter, Effect.REPEATABLE)
shop = Outbox("shop", database="", redis="")
parcel = shop.type("parcel:send", Parcel)


async def read(attempt: Attempt[Parcel]) -> Done:
    return Done({"street": attempt.payload.street.upper(), "floor": attempt.payload.floor + 1})


async def write(attempt: Attempt[Letter]) -> Done:
    return Done({"text": attempt.payload.text})


async def count(attempt: Attempt) -> Done:
    return Done({"attempt": attempt.attempt})


async def ask(attempt: Attempt[Letter]) -> VerifiedOutcome | None:
    return Happened(Done({"text": attempt.payload.text}))


async def nothing(attempt: Attempt[Parcel]) -> None:
    attempt.payload.street.text  # wrong


Submission(LETTER, Letter(text="x"))
Submission(LETTER, Parcel(street="Elm Street"))  # wrong
shop.task("parcel:read", Parcel)(read)
shop.task("parcel:count", Parcel)(count)
shop.task("parcel:write", Parcel)(write)  # wrong
shop.task("parcel:ask", Parcel, verify=ask)(read)  # wrong
shop.task("parcel:lose", Parcel)(nothing)  # wrong
shop.handles(parcel)(read)
shop.handles(parcel)(write)  # wrong
shop.schedule("weekly", "0 0 * * 1", parcel, Parcel(street="Elm Street"))
shop.schedule("monthly", "0 0 1 * *", parcel, Letter(text="x"))  # wrong


async def submit() -> None:
    async with shop.transaction() as tx:
        await parcel.accept(tx, Parcel(street="Elm Street"))
        await parcel.accept(tx, Letter(text="x"))  # wrong
"""


@pytest.mark.parametrize(
    "checker",
    [
        (sys.executable, "-m", "mypy", "--strict", "--config-file", os.devnull),
        ("basedpyright", "--pythonpath", sys.executable, "--level", "error"),
    ],
    ids=["mypy", "pyright"],
)
def test_what_does_not_fit_its_type_is_a_type_error_and_nothing_else_is(
    checker: tuple[str, ...], tmp_path: Path
) -> None:
    (tmp_path / "guest.py").write_text(PROGRAM, "utf-8")
    name, *options = checker
    command = [str(Path(sys.executable).parent / name), *options, "guest.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE, check=False)
    told = {int(line) for line in re.findall(r"guest\.py:(\d+):", done.stdout)}
    assert told == {n for n, line in enumerate(PROGRAM.splitlines(), 1) if line.endswith("# wrong")}, done.stdout


class Parcel(Payload):
    street: str


class Letter(Payload):
    text: str


def test_a_payload_of_another_type_is_refused_in_words() -> None:
    parcels = TaskType("parcel:send", Parcel, Effect.REPEATABLE)
    with pytest.raises(TypeError, match="parcel:send carries Parcel, not Letter"):
        Submission(parcels, Letter(text="x"))  # type: ignore[misc] # 没有检查类型的人
