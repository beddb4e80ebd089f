"""空的 Debian：debootstrap 拉起来，装上 README 要的几样，缓存着；每次用一份副本，自己的 /proc、/tmp。要 root。"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.support.eventually import PATIENCE

CACHE: Final = Path("/var/tmp/kaguan-prove")  # noqa: S108 几个 GiB，要留到下一次；只有 root 写得了
LONGEST: Final = 60 * PATIENCE
NEEDED: Final = ("python3", "python3-venv", "make", "curl", "git", "ca-certificates")
USER: Final = 10001
# 到软件源去的路，照这台机器的；别的环境变量一个也不带
ROAD: Final = (
    "SSL_CERT_FILE",
    "PIP_CERT",
    "PIP_INDEX_URL",
    "UV_DEFAULT_INDEX",
    "http_proxy",
    "https_proxy",
    "no_proxy",
)
AUTHORITIES: Final = Path("/etc/ssl/certs/ca-certificates.crt")
# 挂载与进程都关在自己的命名空间里：出来时一个也不剩。1 号是 sh：make 自己当 1 号，收到 Ctrl-C 死不了
ENTER: Final = """
root=$1; uid=$2; shift 2
mount -t proc proc "$root/proc"
mount --rbind /sys "$root/sys"
mount --rbind /dev "$root/dev"
mount -t tmpfs tmpfs "$root/dev/shm"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
code=0; chroot "$root" setpriv --reuid="$uid" --regid="$uid" --clear-groups "$@" || code=$?
exit "$code"
"""


@dataclass(frozen=True, slots=True)
class Debian:
    """一个装好了的系统，在一个文件夹里。"""

    root: Path

    def command(self, *argv: str, user: int = 0, environ: Mapping[str, str] | None = None) -> list[str]:
        """在里面以 ``user`` 跑 ``argv`` 的命令，在检出的根目录里。"""
        home = "/root" if user == 0 else "/home/kaguan"
        given = {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": home,
            "LANG": "C.UTF-8",
        }
        given |= road() | dict(environ or {})
        settings = [f"{name}={value}" for name, value in given.items()]
        chdir = ("--chdir=/srv/kaguan",) if (self.root / "srv" / "kaguan").exists() else ()
        return [
            "unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-euc", ENTER, "enter", str(self.root),
            str(user), "env", "--ignore-environment", *chdir, *settings, *argv,
        ]  # fmt: skip

    def do(self, *argv: str, user: int = 0) -> None:
        run(*self.command(*argv, user=user, environ={"DEBIAN_FRONTEND": "noninteractive"}))

    def give(self, source: Path, commit: str, user: int) -> None:
        """干净的检出，归跑它的人。"""
        work = self.root / "srv"
        work.mkdir(exist_ok=True)
        check_out(source, commit, work / "kaguan")
        run("chown", "--recursive", f"{user}:{user}", str(work))


def road() -> dict[str, str]:
    found = {name: os.environ[name] for name in ROAD if name in os.environ}
    return found | {name: str(AUTHORITIES) for name in ("SSL_CERT_FILE", "PIP_CERT") if name in found}


def run(*command: str) -> None:
    """跑一条命令；不成就停，把它说的都带上。"""
    done = subprocess.run(command, capture_output=True, text=True, timeout=LONGEST, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}：退出码 {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")


def check_out(source: Path, commit: str, place: Path) -> None:
    run("git", "clone", "--quiet", "--no-hardlinks", str(source), str(place))
    run("git", "-C", str(place), "checkout", "--quiet", "--detach", commit)


def empty(suite: str, place: Path) -> Debian:
    """``place`` 里一份空的 Debian；头一次拉，以后从缓存里抄。

    Raises:
        SystemExit: 不是 root，或没有 debootstrap。
    """
    if os.geteuid() != 0 or shutil.which("debootstrap") is None:
        raise SystemExit("空的 Debian 要 root 与 debootstrap（Debian 的包）")
    cached = CACHE / f"base-{suite}"
    if not cached.exists():
        fresh = CACHE / f"base-{suite}.new"
        shutil.rmtree(fresh, ignore_errors=True)
        sys.stdout.write(f"拉 {suite}……\n")
        run("debootstrap", "--variant=minbase", suite, str(fresh))
        made = Debian(fresh)
        # 名字解析与证书照这台机器的
        shutil.copy("/etc/resolv.conf", fresh / "etc" / "resolv.conf")
        shutil.copy("/etc/hosts", fresh / "etc" / "hosts")
        made.do("apt-get", "-qq", "update")
        made.do("apt-get", "-qq", "install", "-y", "--no-install-recommends", *NEEDED)
        made.do("useradd", "--create-home", "--uid", str(USER), "kaguan")
        if "SSL_CERT_FILE" in os.environ:
            shutil.copy(os.environ["SSL_CERT_FILE"], fresh / AUTHORITIES.relative_to("/"))
        fresh.rename(cached)
    shutil.rmtree(place, ignore_errors=True)
    run("cp", "--archive", str(cached), str(place))
    return Debian(place)
