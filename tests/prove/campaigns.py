"""``make prove P=名字`` 有哪些：做什么、约多久、写在哪里、跑什么。"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.support.repository import ROOT

SYSTEM: Final = "system"
AUDIT: Final = ".venv/audit/.installed"
BENCH: Final = ".venv/bench/.installed"
CLIENT: Final = ".venv/client/.installed"
TAKES: Final = '"$@"'  # 选项接在这里；没有它的一概不接


@dataclass(frozen=True, slots=True)
class Campaign:
    """一场。

    Attributes:
        lasts: 约多久；没有量过的不说。
        writes: 写在哪里；空的只印出来。
        script: bash 的命令，一条不成就停。
        needs: 先 make 的目标。
        proves: 证明的是哪些路径：它们变了，从前那一场说的就是别的代码。
    """

    does: str
    lasts: str
    writes: str
    script: str
    needs: tuple[str, ...] = ()
    proves: tuple[str, ...] = ("src", "migrations")


# 谁证明什么：没有写的是整个产品
PROTOCOL: Final = (
    "migrations", "src/kaguan/database", "src/kaguan/mail", "src/kaguan/outbox", "src/kaguan/queues", "src/relay",
    "src/workers",
)  # fmt: skip
LISTS: Final = ("migrations", "src/api", "src/kaguan")
API: Final = ("src/api", "src/kaguan/logging", "src/kaguan/words")
CARRIERS: Final = ("src/kaguan/carriers", "src/kaguan/sims", "src/workers")

RELIABILITY = "docs/evidence/RELIABILITY.md"
FOUGHT = f"python -m tests.chaos --write {RELIABILITY}"
PROMOTED = f"{FOUGHT} --tasks 2500 --faults 24 --rate 15 --standby"
OTHERWISE = f"{FOUGHT} --tasks 25000 --faults 100 --rate 60 --no-controls"
HARDENING = "docs/evidence/HARDENING.md"
SECTION = f"python -m tests.prove.section {HARDENING}"
ISOLATION = "docs/evidence/ISOLATION.md"

CAMPAIGNS: Final = {
    "rigs": Campaign(
        "our own rigs: broken builds and models that they must condemn, calibrations; what the suite plays in short",
        "6 min", "",
        "python -m pytest -m 'rigs or long' --numprocesses 2 --dist loadfile", (SYSTEM, CLIENT),
        proves=("tests/chaos", "tests/model"),
    ),
    "fresh": Campaign(
        "`make run` and `make test` on empty Debian 12 and 13, on one core, busy, quiet; goes on where it stopped, "
        "WITH='--part quiet' plays one part; root",
        "hours", "docs/evidence/fresh.md", f"python -m tests.prove.fresh {TAKES}", (SYSTEM,),
        proves=("Makefile", "migrations", "pyproject.toml", "requirements-dev.txt", "src", "tests"),
    ),
    "chaos": Campaign(
        "the long fault campaign: real processes, real signals, an independent checker, broken builds it must condemn",
        "50 min", RELIABILITY, f"{FOUGHT} {TAKES}", (SYSTEM,),
        proves=PROTOCOL,
    ),
    "changes": Campaign(
        "5 000 cards changed at their carriers through 200 faults: each once, every doubt named; broken builds it must "
        "condemn",
        "", "docs/evidence/CHANGES.md", f"python -m tests.chaos.card_changes --write docs/evidence/CHANGES.md {TAKES}",
        proves=(*PROTOCOL, *CARRIERS),
    ),
    "targets": Campaign(
        "each reliability target at full size", "20 min", RELIABILITY, f"{FOUGHT} --scenario all",
        proves=PROTOCOL,
    ),
    "power": Campaign(
        "24 power cuts under load, on a file system that forgets what was not synced", "8 min", RELIABILITY,
        f"""
        python -m pytest tests/power
        {FOUGHT} --power --kinds 断电 --tasks 7200 --faults 24 --rate 20 --no-controls
        """,
        (SYSTEM,),
        proves=PROTOCOL,
    ),
    "failover": Campaign(
        "a real standby promoted again and again: synchronous, then losing its tail; two primaries; no standby",
        "8 min", RELIABILITY,
        f"""
        python -m pytest tests/integration/database/test_failover.py tests/integration/database/test_standby_away.py \\
            tests/integration/outbox/recover/test_two_primaries.py tests/failover/history_cuts.py \\
            tests/failover/sentinel_fleet.py tests/failover/standbys.py tests/failover/two_primaries.py \\
            tests/failover/fixed_reconnect.py
        {PROMOTED} sync
        {PROMOTED} async
        """,
        proves=PROTOCOL,
    ),
    "policies": Campaign(
        "the fault campaign otherwise: mail of unknown fate sent again, or asked for; Redis behind Sentinels, switched "
        "over again and again",
        "25 min", RELIABILITY,
        f"""
        {OTHERWISE} --policy resend
        {OTHERWISE} --verify
        {FOUGHT} --tasks 12000 --faults 60 --rate 30 --sentinel
        """,
        (SYSTEM,),
        proves=PROTOCOL,
    ),
    "checklist": Campaign(
        "the rows of the ledger of faults that name a threshold, as written, at full size; a quiet machine", "20 min",
        "docs/ledgers/FAULTS.md", "python -m tests.checklist --write docs/ledgers/FAULTS.md",
    ),
    "drill": Campaign(
        "twelve faults, a running stack: console, /health and doctor name the cause within 20 s and do not blink",
        "25 min", HARDENING, f"python -m tests.drill {TAKES} | {SECTION} drill {TAKES}",
    ),
    "night": Campaign(
        "thirteen faults, the person on call in a real browser, desktop and phone: seconds until told, the cause, taps "
        "to the action that helps; a quiet machine",
        "30 min", "docs/evidence/NIGHT.md", f"python -m tests.drill.night --write docs/evidence/NIGHT.md {TAKES}",
        (SYSTEM,),
    ),
    "model": Campaign(
        "the protocol's model, large sizes too: it holds, and every part taken away has a counterexample", "10 min", "",
        """
        python -m tests.model
        python -m tests.support.judging
        """,
        (SYSTEM,),
        proves=PROTOCOL,
    ),
    "simulate": Campaign(
        "the real relay and workers under thousands of interleavings; SIMULATE_EXAMPLES=n, SIMULATE_SEED=n replays",
        "1 h", "",
        """
        SIMULATE_EXAMPLES=${SIMULATE_EXAMPLES:-5000} python -m pytest --timeout 0 --numprocesses 2 --dist load \\
            tests/integration/outbox/test_simulation.py -k 'interleaving or death'
        """,
        proves=PROTOCOL,
    ),
    "mutate": Campaign(
        "the protocol's code broken in many ways: the tests must notice", "30 min", "",
        f"python -m tests.model.mutate {TAKES}",
        proves=PROTOCOL,
    ),
    "contract": Campaign(
        "every operation against its document, every carrier dialect against its contract and through a session",
        "4 min", "docs/evidence/CONTRACT.md, docs/evidence/CONTRACT-CARRIERS.md, docs/evidence/SESSION-CARRIERS.md",
        """
        KAGUAN_WRITE_CONTRACT=1 CONTRACT_EXAMPLES=12 python -m pytest tests/contracts/test_schemathesis.py \\
            tests/contracts/test_carriers*.py
        SESSION_DOCUMENT=docs/evidence/SESSION-CARRIERS.md python -m pytest tests/e2e/test_carrier_session.py
        """,
        proves=(*API, *CARRIERS, "docs/openapi.yaml"),
    ),
    "client": Campaign(
        "a typed client made from docs/openapi.yaml, checked by mypy and used against a real server", "1 min", "",
        "python -m pytest -m long tests/contracts/test_typed_client.py", (CLIENT,),
        proves=("docs/openapi.yaml",),
    ),
    "fuzz": Campaign(
        "malformed HTTP over raw sockets, clients that never finish; WITH='--seed n' replays", "3 min", "",
        f"python -m tests.fuzz {TAKES}",
        proves=API,
    ),
    "fuzz-redis": Campaign(
        "every kind of lie in every Redis key that is used, beside work, on a real stack; WITH=n replays", "20 min", "",
        f"python -m tests.fuzz.lies {TAKES}",
        proves=PROTOCOL,
    ),
    "attacks": Campaign(
        "hostile requests one by one: no bystander may wait 0.2 s; how much memory stays; a quiet machine", "2 min",
        HARDENING, f"python -m tests.attacks {TAKES} | {SECTION} attacks {TAKES}",
        proves=API,
    ),
    "audit": Campaign(
        "bandit, semgrep with our rules, secrets in the tree, known vulnerabilities of what is locked "
        "(fails where the service of pip-audit is out of reach)",
        "", "dist/audit",
        """
        mkdir -p dist/audit
        bandit --quiet --recursive --severity-level medium src migrations deploy examples | tee dist/audit/bandit.txt
        semgrep scan --metrics off --disable-version-check --quiet --error --config tests/audit/semgrep.yaml \\
            src migrations deploy examples | tee dist/audit/semgrep.txt
        git ls-files -z | xargs -0 detect-secrets-hook --baseline tests/audit/secrets.json
        pip-audit --strict --disable-pip --require-hashes --progress-spinner off -r requirements.txt \\
            | tee dist/audit/pip-audit.txt
        """,
        (AUDIT,),
    ),
    "injection": Campaign(
        "sqlmap at every route of a real API, and at a service with a hole that it must find", "10 min", "dist/sqlmap",
        "python -m tests.audit .venv/audit/bin/sqlmap", (AUDIT,),
    ),
    "mta": Campaign(
        "mail of every size through a real Postfix: clear, STARTTLS, TLS; cut lines too; root", "1 min", HARDENING,
        f"python -m tests.mta | {SECTION} mta",
        proves=("src/kaguan/mail", "src/workers/email"),
    ),
    "bench": Campaign(
        "`make bench`: every speed beside honest rivals; a quiet machine",
        "20 min", "docs/evidence/BENCHMARKS.md", f".venv/bench/bin/python -m tests.bench {TAKES}", (BENCH,),
    ),
    "isolation": Campaign(
        "a hundred slow tasks, then a thousand changed cards, beside urgent mails, one worker and two; a quiet machine",
        "", ISOLATION,
        f".venv/bench/bin/python -m tests.bench --long --only 23,25 | python -m tests.prove.section {ISOLATION} rows",
        (BENCH,),
    ),
    "guest": Campaign(
        "one small shop written with four libraries, side by side: lines, names, packages, seconds, latencies; quiet "
        "machine",
        "6 min", "docs/evidence/GUEST.md", f"python -m tests.bench.guest_page --output docs/evidence/GUEST.md {TAKES}",
        proves=("src/kaguan/outbox", "src/kaguan/database", "src/kaguan/queues"),
    ),
    "harness": Campaign(
        "an adapter for hardbyte's queue benchmark, spoken to as its harness does: 800/s beside a held transaction",
        "5 min", "", f"python -m tests.bench.harness {TAKES}",
    ),
    "queries": Campaign(
        "every list on a million tasks, counted in blocks", "", "docs/evidence/QUERIES.md",
        """
        KAGUAN_LARGE_ROWS=500000 KAGUAN_WRITE_QUERIES=1 python -m pytest --timeout 0 \\
            tests/integration/database/plans/test_query_plans.py -k few_blocks
        """,
        proves=LISTS,
    ),
    "desk": Campaign(
        "the card desk on a million cards and thirty million rows of usage: what each request costs the database",
        "15 min", "docs/evidence/DESK.md", f"python -m tests.bench.desk --output docs/evidence/DESK.md {TAKES}",
        proves=LISTS,
    ),
    "pages": Campaign(
        "every page and every read of the API on ten million finished tasks, a million waiting, 100 000 dead letters",
        "25 min", "docs/evidence/PAGES.md", f"python -m tests.bench.pages --output docs/evidence/PAGES.md {TAKES}",
        proves=LISTS,
    ),
    "wheel": Campaign(
        "the wheel in a really empty environment, everything installed anew from the locked requirements", "", "",
        "KAGUAN_WHEEL_ENVIRONMENT=empty python -m pytest --timeout 900 tests/e2e/test_wheel.py",
    ),
    "restore": Campaign(
        "base backup, archived WAL, disaster, restore to a point in time beside the old Redis (WITH=--flush: emptied)",
        "1 min", "", f"python -m tests.deploy.restore {TAKES}",
        proves=PROTOCOL,
    ),
    "upgrade": Campaign(
        "the wheels of the release before and of this tree side by side under load, up and back; broken releases too",
        "8 min", "docs/evidence/UPGRADES.md", "python -m tests.deploy.upgrade --write docs/evidence/UPGRADES.md",
        proves=PROTOCOL,
    ),
    "image": Campaign(
        "the image built from an empty Debian, its processes run read-only against real servers; root", "6 min",
        "dist/kaguan.debian.txt", "python -m tests.deploy",
    ),
    "sbom": Campaign(
        "what the production image installs from PyPI, with hashes (CycloneDX)", "1 min", "dist/kaguan.cdx.json",
        """
        mkdir -p dist
        cyclonedx-py requirements --pyproject pyproject.toml --output-reproducible --of JSON -o dist/kaguan.cdx.json \\
            requirements.txt
        """,
        proves=("requirements.txt",),
    ),
    "profile": Campaign(
        "where the CPU of a task goes in API, relay, worker, PostgreSQL at 50, 500, 2 000 a second; a quiet machine",
        "3 min", "docs/evidence/PROFILE.md",
        f"python -m tests.bench.profile_page --output docs/evidence/PROFILE.md {TAKES}",
    ),
    "screenshots": Campaign(
        "the pictures in the documents, from the browser and Prometheus tests", "",
        "docs/images, docs/evidence/alerts-fired.json",
        """
        KAGUAN_SCREENSHOTS=1 python -m pytest tests/e2e/test_browser.py tests/e2e/test_prometheus.py
        cp .artifacts/readme-*.png .artifacts/trace.png .artifacts/grafana-series.png docs/images/
        cp .artifacts/alerts.json docs/evidence/alerts-fired.json
        """,
        (SYSTEM,),
    ),
    # 不在里面的：不问数据库的；模拟（它逐个连接地走）；自己起服务器来杀、来量、来部署的
    "pooler": Campaign(
        "most of the suite behind a stock PgBouncer in transaction mode; the pooler restarted under load", "", "",
        """
        TEST_POOLER=1 python -m pytest --numprocesses 2 --dist loadfile tests/failover/pooler_restart.py \\
            tests/integration tests/contracts tests/migrations tests/e2e/test_trace.py tests/e2e/test_fault_outage.py
        """,
        (SYSTEM,),
        proves=PROTOCOL,
    ),
}  # fmt: skip


def table() -> str:
    rows = [
        (name, one.lasts, f"{one.does}{f' → {one.writes}' if one.writes else ''}") for name, one in CAMPAIGNS.items()
    ]
    return "".join(f"  {name:<12} {lasts:<7} {told}\n" for name, lasts, told in rows)


def run(campaign: Campaign, options: list[str]) -> int:
    """先印出每一条再跑它；头一条不成的，它的退出码。

    Raises:
        SystemExit: 它不接选项。
    """
    if options and TAKES not in campaign.script:
        raise SystemExit(f"it takes no options: {' '.join(options)}")
    here = Path(sys.executable).parent
    path = os.pathsep.join((str(here), str(here.parent / "audit" / "bin"), os.environ["PATH"]))
    needed = "".join(f"make --no-print-directory {name}\n" for name in campaign.needs)
    command = ["bash", "-exuo", "pipefail", "-c", needed + campaign.script, "prove", *options]
    return subprocess.run(command, cwd=ROOT, env={**os.environ, "PATH": path}, check=False).returncode
