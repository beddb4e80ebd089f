"""缺了程序，或只有太旧的：别处跳过，CI 里算失败，都说要什么、有什么；有一个能用就行，只给它认得的设置。"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.installed import command, parse, program, version_of
from tests.support.pooler import NO_PREPARED, TUNED, Pooler

# 各程序问版本时真的答过的（取第一段）
SAID = {
    "PgBouncer 1.18.0\nlibevent 2.1.12-stable\nadns: c-ares 1.18.1\n": (1, 18, 0),
    "PgBouncer 1.24.1\nlibevent 2.1.13-stable\n": (1, 24, 1),
    "Docker Compose version 2.26.1-4\n": (2, 26, 1),
    "Docker Compose version v2.24.6\n": (2, 24, 6),
    "docker-compose version 1.29.2, build unknown\ndocker-py version: 5.0.3\n": (1, 29, 2),
    "systemd 252 (252.39-1~deb12u2)\n+PAM +AUDIT +SELINUX\n": (252, 39),
    "systemd 257 (257.13-1~deb13u1)\n": (257, 13),
    "systemd 254~rc1\n": (254,),
    "prometheus, version 2.42.0+ds (branch: debian/sid, revision: 2.42.0+ds-5)\n  go version: go1.19\n": (2, 42, 0),
    "Chromium 156.0.8078.108 built on Debian GNU/Linux 13 (trixie)\n": (156, 0, 8078, 108),
    "Spin Version 6.5.2 -- 6 December 2019\n": (6, 5, 2),
    'Client Version: version.Info{Major:"1", Minor:"20+", GitVersion:"v1.20.5-rc.1", GoVersion:"go1.15"}\n': (1, 20, 5),
    "Client Version: v1.32.3\nKustomize Version: v5.5.0\n": (1, 32, 3),
    "ShellCheck - shell script analysis tool\nversion: 0.10.0\n": (0, 10, 0),
    "没有数字\n": (),
}


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], str]:
    """往 PATH 里（只有它）放一个程序：问什么都答 ``said``，空的是不认这个问法。"""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CI", raising=False)

    def put(name: str, said: str) -> str:
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\necho '{said}'\n" if said else "#!/bin/sh\nexit 1\n")
        path.chmod(0o755)
        version_of.cache_clear()
        return str(path)

    return put


@pytest.mark.parametrize(("said", "version"), SAID.items(), ids=[said.split(" ")[0] for said in SAID])
def test_the_version_is_read_from_what_the_program_says(said: str, version: tuple[int, ...]) -> None:
    assert parse(said) == version


def test_any_of_the_names_that_is_new_enough_will_do(install: Callable[[str, str], str]) -> None:
    newer = install("newer", "newer 2.0")
    assert program("older", "newer") == newer
    docker, compose = install("docker", ""), install("compose", "compose 2.0.1")
    assert command("docker compose", "compose", since=(2,)) == (compose,)
    docker = install("docker", "v2.26.1")
    assert command("docker compose", "compose", since=(2,)) == (docker, "compose")


@pytest.mark.parametrize(
    ("said", "found"), [(None, "没有装"), ("", "pgbouncer 答不出版本"), ("PgBouncer 1.18.0", "pgbouncer 1.18.0")]
)
def test_an_absent_or_old_program_skips_the_test_but_fails_it_in_ci(
    install: Callable[[str, str], str], monkeypatch: pytest.MonkeyPatch, said: str | None, found: str
) -> None:
    if said is not None:
        install("pgbouncer", said)
    for ci, told in (("", pytest.skip.Exception), ("true", pytest.fail.Exception)):
        monkeypatch.setenv("CI", ci)
        with pytest.raises(told, match=rf"^要 pgbouncer 1\.22 以上，这里.*{found}"):
            program("pgbouncer", since=(1, 22))


@pytest.mark.parametrize(
    ("version", "options", "written"),
    [("1.18.0", NO_PREPARED, False), ("1.21.0", NO_PREPARED, True), ("1.24.1", TUNED, True), ("1.18.0", {}, False)],
)
def test_a_pooler_is_given_no_setting_that_its_version_does_not_know(
    install: Callable[[str, str], str], tmp_path: Path, version: str, options: dict[str, str], *, written: bool
) -> None:
    install("pgbouncer", f"PgBouncer {version}")
    pooler = Pooler(tmp_path / "pooler", "postgresql://kaguan:secret@127.0.0.1:1/", options)
    pooler.program()
    assert ("max_prepared_statements" in (tmp_path / "pooler" / "pgbouncer.ini").read_text()) is written


def test_a_pooler_that_must_keep_prepared_statements_is_not_taken_from_before_they_were_kept_well(
    install: Callable[[str, str], str], tmp_path: Path
) -> None:
    install("pgbouncer", "PgBouncer 1.21.0")
    with pytest.raises(pytest.skip.Exception, match=r"pgbouncer 1\.22 以上"):
        Pooler(tmp_path, "postgresql://kaguan:secret@127.0.0.1:1/", TUNED).program()
