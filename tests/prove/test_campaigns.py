"""``make prove``：表里写的都在，不给名字就列出来，没有的名字与接不上的选项说得清，一条不成就停。"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.prove.__main__ import main
from tests.prove.campaigns import CAMPAIGNS, TAKES, Campaign, run
from tests.support.repository import ROOT

MODULE = re.compile(r"python -m (tests[\w.]*)")
PLACE = re.compile(r"(?<![\w./])(?:tests|docs)/[\w./*-]+")


def test_without_a_name_it_lists_every_campaign(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    listed = capsys.readouterr().out.splitlines()[2:]
    assert [line.split()[0] for line in listed if line] == [*CAMPAIGNS, "all", "report", "release"]


def test_an_unknown_name_is_refused_with_the_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["nowhere"]) == 2
    assert {"nowhere", *CAMPAIGNS} <= set(re.split(r"[\s;]+", capsys.readouterr().err))


@pytest.mark.parametrize("name", CAMPAIGNS)
def test_what_a_campaign_runs_reads_and_needs_is_there(name: str) -> None:
    campaign = CAMPAIGNS[name]
    for module in MODULE.findall(campaign.script):
        path = ROOT / module.replace(".", "/")
        assert (path / "__main__.py").is_file() or path.with_suffix(".py").is_file(), module
    for place in PLACE.findall(campaign.script):
        assert list(ROOT.glob(place.rstrip("/"))), place
    for target in campaign.needs:
        subprocess.run(["make", "--dry-run", target], cwd=ROOT, capture_output=True, check=True)


def test_options_go_where_the_script_takes_them_and_nowhere_else(tmp_path: Path) -> None:
    campaign = Campaign("", "", "", f"printf '%s\\n' {TAKES} > {tmp_path}/given")
    assert run(campaign, ["--seed", "1 2"]) == 0
    assert (tmp_path / "given").read_text("utf-8") == "--seed\n1 2\n"
    with pytest.raises(SystemExit, match="--seed"):
        run(Campaign("", "", "", "true"), ["--seed"])


def test_the_first_command_that_fails_ends_it(tmp_path: Path) -> None:
    assert (
        run(Campaign("", "", "", f"command -v python > {tmp_path}/ran\nfalse | true\ntouch {tmp_path}/never"), []) == 1
    )
    assert (tmp_path / "ran").read_text("utf-8").strip() == str(Path(sys.executable).with_name("python"))
    assert not (tmp_path / "never").exists()
