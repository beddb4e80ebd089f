"""文档不多，一份索引列全；链接都通到有的文件、有的标题；引基准第几行的数，就是那一行的数；决定有没有过时，标题下写着。"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from posixpath import normpath

from tests.support.occasion import CITING
from tests.support.repository import ROOT, tracked

README_LINES = 110
DOCUMENTS = 12  # 四份指南与决定之外
INDEX = "docs/README.md"
GUIDES = "docs/002-sqlalchemy-postgres-saq/"
LINK = re.compile(r"\]\((?!\w+:)([^)#\s]*)(?:#([^)\s]+))?\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
FENCED = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
STATUS = re.compile(r"# \d+\. [^\n]+\n\nStatus: (?:accepted|superseded by) ")
DECISION = re.compile(r"\[(?:ADR )?(\d+)\]\([^)]*?(\d{4})-[\w-]+\.md\)")
# 「（…#7）」之前的一句，或表里末一格是 #7 的一行：其中的数都是第 7 行的
CITED = re.compile(r"#(\d+)(?=[），、,) |])")
CLAUSE = re.compile(r"[。；;|]|(?<=\d\)), ")
SOURCE = re.compile(r"\| (#\d+) \|$")
NUMBER = re.compile(r"(?<![\w#.,-])\d[\d,]*(?:\.\d+)?(?![\w.])")
EVIDENCE = re.compile(r"\]\((?:\.\./|docs/)?evidence/([\w-]+\.md)")
LEDGER = re.compile(r"\[FAULTS[^\]]*\]\([^)]*\)[ \d、]*")
HISTORICAL = ("CHANGELOG.md", "docs/adr/", "docs/evidence/")  # 说的是当时，或自己就是证据
SETTLED = re.compile(r"\(.*?\)|P\d\d|[\d,]+/s|`[^`]*`")  # 链接、分位、负载的速率、代码不算引的数


def pages(*, under: str = "") -> dict[str, str]:
    return {name: (ROOT / name).read_text("utf-8") for name in tracked() if name.startswith(under) and is_page(name)}


def is_page(name: str) -> bool:
    return name.endswith(".md")


def slug(title: str) -> str:
    """标题的锚，照代码托管网站的写法。"""
    shown = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", title)
    return re.sub(r"[^\w\- ]", "", shown.lower()).replace(" ", "-")


def dead_links(name: str, text: str) -> Iterator[str]:
    for path, anchor in LINK.findall(FENCED.sub("", text)):
        target = normpath(f"{Path(name).parent.as_posix()}/{path}") if path else name
        if not (ROOT / target).exists():
            yield path
        elif anchor and anchor not in set(map(slug, HEADING.findall((ROOT / target).read_text("utf-8")))):
            yield f"{path}#{anchor}"


def rows(benchmarks: str) -> dict[int, set[float]]:
    """每一行里的数；同一个号的几行合在一起。"""
    found = re.findall(r"^\| (\d+) \| (.+)$", benchmarks, re.MULTILINE)
    return {
        int(number): {value for _, text in lines for value in numbers(text)}
        for number, lines in groupby(found, key=lambda one: one[0])
    }


def numbers(text: str) -> list[float]:
    return [float(one.replace(",", "")) for one in NUMBER.findall(text)]


def clauses(text: str) -> Iterator[str]:
    for line in FENCED.sub("", text).splitlines():
        yield from [line] if SOURCE.search(line) else CLAUSE.split(line)


def miscited(text: str, known: dict[int, set[float]]) -> list[str]:
    """引了第几行、那一行却没有的数；四舍五入过的算有。"""
    found = []
    for clause in clauses(text):
        cited = [int(number) for number in CITED.findall(f"{clause} ")]
        there = {value for number in cited for value in known[number]}
        for number in NUMBER.findall(SETTLED.sub("", CITED.sub("", clause))) if cited else ():
            places = len(number.partition(".")[2])
            if float(number.replace(",", "")) not in {round(value, places) for value in there}:
                found.append(f"#{cited} {number}")
    return found


def elsewhere(text: str, evidence: dict[str, str]) -> list[str]:
    """链接到证据的一句里，那一页却没有的数；BENCHMARKS 的另按第几行核对，台账的第几行不是数。"""
    found = []
    for clause in clauses(text):
        for page in set(EVIDENCE.findall(clause)) - {"BENCHMARKS.md"}:
            there = set(numbers(evidence[page]))
            said = NUMBER.findall(SETTLED.sub("", LEDGER.sub("", clause)))
            found += [f"{page} {one}" for one in said if float(one.replace(",", "")) not in there]
    return found


def cites(text: str) -> bool:
    """有没有一句引着证据里的数。"""
    found = (one for one in clauses(text) if CITED.search(f"{one} ") or EVIDENCE.search(one))
    return any(NUMBER.search(SETTLED.sub("", LEDGER.sub("", CITED.sub("", one)))) for one in found)


def test_the_readme_is_read_in_one_sitting() -> None:
    assert (ROOT / "README.md").read_text("utf-8").count("\n") <= README_LINES


def test_there_are_few_documents_and_the_index_lists_each_on_one_line() -> None:
    every = set(pages(under="docs/")) - {INDEX}
    decisions = {name for name in every if name.startswith("docs/adr/")}
    written = {name for name in every - decisions if not name.startswith((GUIDES, "docs/evidence/"))}
    assert len(written) + 2 <= DOCUMENTS  # 索引自己，与证据的一夹
    text = (ROOT / INDEX).read_text("utf-8")
    listed = [normpath(f"docs/{path}") for path, _ in LINK.findall(text)]
    assert len(listed) == len(set(listed))
    assert (every - decisions) - set(listed) == set()
    assert max(line.count("](") for line in text.splitlines()) == 1


def test_a_dead_link_and_a_lost_heading_are_noticed() -> None:
    text = "[a](docs/nowhere) [b](README.md#nowhere) [c](#here) [d](https://x) [e](docs)\n# Here\n"
    assert list(dead_links("README.md", text)) == ["docs/nowhere", "README.md#nowhere", "#here"]
    assert slug("一主一备，一次次切换") == "一主一备一次次切换"


def test_every_link_leads_to_a_file_and_a_heading() -> None:
    assert {name: found for name, text in pages().items() if (found := list(dead_links(name, text)))} == {}


def test_a_figure_that_its_row_does_not_have_is_noticed() -> None:
    known = rows("| 7 | 排空 | **0.90** | 6,961 任务/秒 |\n| 7 | 又 | 73.1 ms |\n| 8 | 别的 | 5 |")
    assert miscited("排空 6,961 个/秒（#7），是 0.9（#7）；P95 73 毫秒 (#7).", known) == []
    assert miscited("排空 7,056 个/秒（#7）。另有 12 个", known) == ["#[7] 7,056"]
    assert miscited("| 排空 | 0.95 | #7 |\n", known) == ["#[7] 0.95"]


def test_every_figure_cited_is_the_one_in_the_benchmarks() -> None:
    known = rows((ROOT / "docs/evidence/BENCHMARKS.md").read_text("utf-8"))
    looked = {name: text for name, text in pages().items() if name != "CHANGELOG.md" and "BENCHMARKS" in text}
    assert {"README.md", "docs/SCALING.md"} <= set(looked)
    assert {name: found for name, text in looked.items() if (found := miscited(text, known))} == {}


def test_every_floor_that_is_missed_has_its_cause_in_words() -> None:
    benchmarks, scaling = (ROOT / "docs/evidence/BENCHMARKS.md", ROOT / "docs/SCALING.md")
    missed = {int(number) for number in re.findall(r"^- 第 (\d+) 行，", benchmarks.read_text("utf-8"), re.MULTILINE)}
    section = scaling.read_text("utf-8").partition("## 没过底线的，各因为什么\n")[2].partition("\n## ")[0]
    told = re.findall(r"^\| (\d[\d、]*) \| (.+) \|$", section, re.MULTILINE)
    assert missed == {int(number) for numbers, cause in told if cause for number in numbers.split("、")} != set()


def test_only_documents_that_take_figures_over_do_not_count_as_code() -> None:
    looked = {name: text for name, text in pages().items() if not name.startswith((*HISTORICAL, "docs/ledgers/"))}
    assert {name for name, text in looked.items() if cites(text)} == set(CITING)


def test_a_figure_beside_a_link_to_evidence_is_on_that_page() -> None:
    evidence = {path.name: path.read_text("utf-8") for path in (ROOT / "docs/evidence").glob("*.md")}
    looked = {name: text for name, text in pages().items() if not name.startswith(HISTORICAL)}
    planted = "至多 5 秒（[量到的](evidence/GUEST.md)），见 [FAULTS](ledgers/FAULTS.md) 57"
    assert elsewhere(planted, {"GUEST.md": "4 秒"}) == ["GUEST.md 5"]
    assert {name: found for name, text in looked.items() if (found := elsewhere(text, evidence))} == {}


def test_a_decision_says_under_its_title_whether_it_still_holds() -> None:
    decisions = pages(under="docs/adr/")
    assert [name for name, text in decisions.items() if not STATUS.match(text)] == []
    wrong = {
        name: [(shown, real) for shown, real in DECISION.findall(text) if int(shown) != int(real)]
        for name, text in pages().items()
    }
    assert {name: found for name, found in wrong.items() if found} == {}
