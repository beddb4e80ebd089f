"""给人看的数、时长、时刻；模板里叫 ``f``。没有 ``ops`` 的看不见的在这里遮住：邮箱地址、长号码、结果里的文字。"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import orjson
from markupsafe import Markup

from api.console.readable import Readable
from api.console.texts import Translator
from kaguan.outbox.operate.summary import Summary
from kaguan.words.durations import duration
from kaguan.words.personal import masked
from kaguan.words.reasons import LEFT_OUT, Reason
from kaguan.words.zones import offset, written

# 原因的参数里，词汇表有译名的
WORDED = {"state": "lifecycle", "change": "change", "carrier": "carrier"}
WHOLE = 100  # 三位数以上不必看小数
FEW, FEWEST = 0.1, 0.01  # 一位小数写不出的，两位也写不出的
MOMENT = len("2026-01-01T00:00:00Z")


def without_texts(value: Any) -> Any:
    """只留键、短的数与真假：是谁的文字，这里认不出。"""
    match value:
        case dict():
            return {masked(str(name)): without_texts(item) for name, item in value.items()}
        case list():
            return [without_texts(item) for item in value]
        case bool() | None:
            return value
        case int() | float():
            return value if masked(str(value)) == str(value) else LEFT_OUT
        case _:
            return LEFT_OUT


class Formatter:
    """``personal`` 为假：读者看不得个人信息，它们在这里略去。"""

    def __init__(self, translate: Translator, zone: ZoneInfo, *, personal: bool) -> None:
        self._t = translate
        self.zone = zone
        self.personal = personal

    def number(self, value: int | None) -> str:
        return "–" if value is None else f"{value:,}"

    def capped(self, value: int | None, cap: int) -> str:
        """数到 ``cap`` 为止的数：到了就写「≥」；更大的是估的，写「≈」。"""
        if value is None:
            return "–"
        if value < cap:
            return f"{value:,}"
        return f"≥ {cap:,}" if value == cap else f"≈ {value:,}"

    def data(self, value: int | None) -> str:
        """用量：``12.3 MiB``。"""
        if value is None:
            return "–"
        amount, unit = float(value), "B"
        for larger in ("KiB", "MiB", "GiB", "TiB"):
            if amount < 1024:  # noqa: PLR2004 二进制的单位
                break
            amount, unit = amount / 1024, larger
        return f"{amount:,.0f} {unit}" if unit == "B" else f"{amount:,.1f} {unit}"

    def rate(self, value: float, *, capped: bool = False) -> str:
        """每秒个数；几分钟才一个的，也不写成没有。"""
        if 0 < value < FEW:
            return f"{value:.2f}" if value >= FEWEST else f"< {FEWEST}"
        text = f"{value:,.1f}" if value < WHOLE else f"{value:,.0f}"
        return f"≥ {text}" if capped else text

    def duration(self, seconds: float | None) -> str:
        return "–" if seconds is None else duration(seconds)

    def between(self, start: datetime | None, end: datetime | None) -> str:
        return "–" if start is None or end is None else self.duration((end - start).total_seconds())

    def ago(self, moment: datetime | None, now: datetime | None = None) -> str:
        """离现在多久；将来的写「还有」。"""
        if moment is None:
            return "–"
        seconds = ((now or datetime.now(UTC)) - moment).total_seconds()
        if seconds < 0:
            return self._t("time.in", duration=self.duration(-seconds))
        return self._t("time.ago", duration=self.duration(seconds))

    def moment(self, moment: datetime | None) -> Markup:
        """配置的时区里的时刻，写出偏移；今天的省去日期。"""
        if moment is None:
            return Markup("–")
        local = moment.astimezone(self.zone)
        exact = local.isoformat(timespec="milliseconds")
        day, clock, offset = written(moment, self.zone).split()
        shown = clock if local.date() == datetime.now(self.zone).date() else f"{day} {clock}"
        return Markup('<time datetime="{}" title="{}">{} <small>{}</small></time>').format(exact, exact, shown, offset)

    def zone_note(self) -> str:
        """``时间为 Asia/Shanghai（+08:00）``。"""
        return self._t("time.zone", zone=self.zone.key, offset=offset(datetime.now(UTC), self.zone))

    def clock(self, moment: datetime) -> str:
        """当天的钟点。"""
        return f"{moment.astimezone(self.zone):%H:%M:%S}"

    def json(self, value: Any) -> str:
        shown = value if self.personal else without_texts(value)
        return orjson.dumps(shown, option=orjson.OPT_INDENT_2, default=str).decode()

    def readable(self, value: Any) -> Markup:
        """念得出来的：一项一行，长的折着。"""
        return Readable(self._t).items(value if self.personal else without_texts(value))

    def word(self, group: str, value: object) -> str:
        """词汇（状态、类型、事件）的译名；不认识的原样。"""
        return self._t.known(f"{group}.{value}".replace(":", "_"), str(value))

    def reason(self, said: Mapping[str, Any] | Reason | str | None) -> str:
        """原因（库里的一行 ``last_error`` 或 ``detail``）或起因；没有就是短横。"""
        if isinstance(said, Mapping) and "reason" not in said:
            said = said.get("cause")
        if not said:
            return "–"
        if isinstance(said, str):
            return self.shown(self.word("cause", said))
        return self.shown(self._worded(Reason.of(said)).text(self._t.language, quoted=self.personal)) or "–"

    def _worded(self, why: Reason) -> Reason:
        """参数里的状态、变更、运营商也说成读者的话。"""
        given = why.parameters.items()
        return replace(
            why, parameters={name: self.word(WORDED[name], value) if name in WORDED else value for name, value in given}
        )

    def shown(self, text: str) -> str:
        """一句写好的话，或一个业务键。"""
        return text if self.personal else masked(text)

    def plain(self, value: Any) -> str:
        """审计里的一个值：几样并列写，对象一项项写。"""
        match value:
            case bool():
                return str(value).lower()
            case float():
                return f"{value:g}"
            case str():
                return self.of_time(value) or self.shown(value)
            case list():
                return self._t("audit.comma").join(map(self.plain, value)) or "–"
            case dict():
                return self._t("audit.comma").join(f"{name} {self.plain(item)}" for name, item in value.items()) or "–"
            case _:
                return self.shown(str(value))

    def of_time(self, text: str) -> str:
        """审计记的时刻是 UTC 的；不是时刻的，没有。"""
        if len(text) < MOMENT or not text[:4].isdecimal():
            return ""
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            return ""
        return "" if moment.tzinfo is None else written(moment, self.zone)

    def summary(self, told: Summary | None) -> str:
        return "" if told is None else told.text(self._t.language, personal=self.personal)

    def quoted(self, text: str) -> str:
        """人写的、别人的原话：是谁的，这里认不出。"""
        return text if self.personal else LEFT_OUT
