"""夜里的短形：手机上，两件事同时出，都说中、谁也不冤枉；一个不认得的类型。长的那场是 ``make prove P=night``。"""

from __future__ import annotations

import pytest

from tests.drill.night import evening, play
from tests.drill.nights import NIGHTS
from tests.e2e.browser import chromium


@pytest.mark.parametrize("name", ["two_outages", pytest.param("unknown_type", marks=pytest.mark.long)])
async def test_on_a_phone_the_console_names_the_cause_and_three_taps_do_what_helps(name: str) -> None:
    night = NIGHTS[name]
    async with chromium() as browser, evening() as stage:
        played = await play(night, "手机", stage, browser)
    assert played.deeds
    assert played.passed, played
