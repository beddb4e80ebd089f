"""给人看的时长，两种语言一样写。"""

from __future__ import annotations

from kaguan.words.units import DAY, HOUR, MINUTE

SHORT = 10.0  # 小于它的秒数带一位小数
UNITS = {"s": 1, "m": MINUTE, "h": HOUR, "d": DAY}
MOST_DIGITS = 9


def seconds_of(text: str) -> int | None:
    """``90s``、``30m``、``2h``、``1d12h``；别的写法不认。"""
    seconds, digits = 0, ""
    for character in text:
        if character.isascii() and character.isdigit() and len(digits) < MOST_DIGITS:
            digits += character
        elif digits and character in UNITS:
            seconds, digits = seconds + int(digits) * UNITS[character], ""
        else:
            return None
    return None if digits or not seconds else seconds


def duration(seconds: float) -> str:
    """``0.4 ms``、``350 ms``、``4.2 s``、``3 min 20 s``、``2 h 5 min``、``3 d 4 h``。"""
    seconds = max(0.0, seconds)
    if seconds < 1:
        return f"{seconds * 1000:.1f} ms" if 0 < seconds < SHORT / 1000 else f"{seconds * 1000:.0f} ms"
    if seconds < SHORT:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for unit, name, rest_unit, rest_name in ((DAY, "d", HOUR, "h"), (HOUR, "h", MINUTE, "min")):
        if whole >= unit:
            rest = whole % unit // rest_unit
            return f"{whole // unit} {name} {rest} {rest_name}" if rest else f"{whole // unit} {name}"
    if whole >= MINUTE:
        return f"{whole // MINUTE} min {whole % MINUTE} s" if whole % MINUTE else f"{whole // MINUTE} min"
    return f"{whole} s"
