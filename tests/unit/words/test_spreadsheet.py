"""CSV：各种编码与分隔读得出，行号照文件，写出去的没有公式，读回来的是原样。"""

from __future__ import annotations

import pytest

from kaguan.words.errors import DomainError
from kaguan.words.spreadsheet import BOM, FORMULA, kept_whole, read, write


def lines(raw: bytes) -> list[tuple[int, tuple[str, ...]]]:
    return [(line.number, line.cells) for line in read(raw, "file")]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_keep_their_numbers_whatever_the_encoding_the_separator_and_the_line_ends(
    encoding: str, separator: str, end: str
) -> None:
    text = end.join((separator.join(("列", "b")), "", separator.join((f'"一{end}二"', " 3 ")), "x"))
    assert lines(text.encode(encoding)) == [(1, ("列", "b")), (3, (f"一{end}二", "3")), (5, ("x",))]


@pytest.mark.parametrize("raw", [b"\x80", b"a\x00b", b'a\n"b', b'a\n"b"c', b"a" * 200_000])
def test_what_is_no_csv_is_refused_in_words(raw: bytes) -> None:
    with pytest.raises(DomainError):
        lines(raw)


@pytest.mark.parametrize("start", FORMULA)
def test_a_cell_that_would_be_a_formula_is_guarded_and_reads_back_as_it_was(start: str) -> None:
    for given in (f"{start}1+1", f"'{start}1", "'plain", "plain"):
        written = write([[given, "end"]])
        assert not written.lstrip('"').startswith(FORMULA)
        assert lines((BOM + written).encode())[0][1][0] == given


def test_a_long_number_stays_text_in_a_spreadsheet_and_reads_back() -> None:
    assert (kept_whole("8986"), kept_whole(None)) == ("8986", None)
    whole = kept_whole("89860012345678901238")
    assert write([[whole, None, True, ["a", "b"]]]) == "\t89860012345678901238,,true,a;b\r\n"
    assert lines(f"{whole},1".encode()) == [(1, ("89860012345678901238", "1"))]
