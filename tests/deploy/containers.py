"""不用守护进程的容器：从空的 Debian（debootstrap）起步，照 Dockerfile 造镜像，只读地跑。要 root。"""

from __future__ import annotations

import json
import os
import resource
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.repository import ROOT

BASE = "localhost/kaguan-base:trixie"
IMAGE = "localhost/kaguan:check"
SUITE = "trixie"
PACKAGES = ("buildah", "podman", "runc", "debootstrap")
AUTHORITIES = Path("/etc/ssl/certs/ca-certificates.crt")
LONG = 1800.0  # 秒；造镜像要下载
SHORT = 120.0


def run(*command: str, timeout: float = SHORT, check: bool = True, **more: Any) -> subprocess.CompletedProcess[str]:
    """跑一条命令；不成时把它说的都带上。"""
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False, **more)
    if check and done.returncode != 0:
        raise SystemExit(
            f"{' '.join(command)} 的退出码是 {done.returncode}：\n{done.stdout[-4000:]}{done.stderr[-4000:]}"
        )
    return done


def install() -> None:
    """Debian 的包；已装的不动。"""
    wanted = [name for name in PACKAGES if run("dpkg", "-s", name, check=False).returncode]
    if wanted:
        run("apt-get", "update", "-qq", timeout=LONG)
        run("apt-get", "install", "-y", "-qq", "--no-install-recommends", *wanted, timeout=LONG)


@dataclass(frozen=True, slots=True)
class Engine:
    """自己的存储目录，不碰系统里的镜像与容器。"""

    place: Path

    @property
    def _globals(self) -> tuple[str, ...]:
        return ("--root", str(self.place / "storage"), "--runroot", str(self.place / "run"), "--storage-driver", "vfs")

    @property
    def _limits(self) -> tuple[str, ...]:
        """不比自己的高：没有那个权能的宿主抬不上去。"""
        files, processes = (resource.getrlimit(which)[1] for which in (resource.RLIMIT_NOFILE, resource.RLIMIT_NPROC))
        return ("--ulimit", f"nofile={files}:{files}", "--ulimit", f"nproc={processes}:{processes}")

    def buildah(self, *arguments: str, **more: Any) -> str:
        return run("buildah", *self._globals, *arguments, **more).stdout

    def podman(self, *arguments: str, **more: Any) -> subprocess.CompletedProcess[str]:
        runtime = ("--runtime", "runc", "--cgroup-manager", "cgroupfs")
        environment = os.environ | {"PODMAN_IGNORE_CGROUPSV1_WARNING": "1"}
        return run("podman", *self._globals, *runtime, *arguments, env=environment, **more)

    def base(self) -> None:
        """debian:trixie-slim 的替身：从软件源拉起来的最小系统。"""
        root = self.place / "base"
        run("debootstrap", "--variant=minbase", SUITE, str(root), timeout=LONG)
        archive = self.place / "base.tar"
        run("tar", "-C", str(root), "-cf", str(archive), ".", timeout=LONG)
        self.podman("import", "--quiet", str(archive), BASE, timeout=LONG)

    def build(self) -> None:
        """照 deploy/Dockerfile 一步不差地造；本机的 CA 与软件源经构建期的秘密给，不进镜像。"""
        pip = self.place / "pip.conf"
        index = os.environ.get("PIP_INDEX_URL")
        pip.write_text(f"[global]\ncert = /run/secrets/ca\n{f'index-url = {index}' if index else ''}\n")
        self.buildah(
            "build", "--isolation", "chroot", "--network", "host", *self._limits, "--build-arg", f"BASE={BASE}",
            "--secret", f"id=pip,src={pip}", "--secret", f"id=ca,src={AUTHORITIES}", "--ignorefile",
            str(ROOT / "deploy" / "Dockerfile.dockerignore"), "--format", "docker",
            "--file", str(ROOT / "deploy" / "Dockerfile"), "--tag", IMAGE, str(ROOT),
            timeout=LONG,
        )  # fmt: skip

    def packages(self) -> str:
        """镜像里 Debian 的包，一行一个：名字、版本、架构。"""
        shown = ("dpkg-query", "--show", "--showformat", "${Package} ${Version} ${Architecture}\n")
        return self.podman(
            "run",
            "--rm",
            "--pull=never",
            "--network",
            "host",
            *self._limits,
            "--entrypoint",
            shown[0],
            IMAGE,
            *shown[1:],
        ).stdout

    def inspect(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.podman("image", "inspect", IMAGE).stdout)[0]
        return found

    def start(
        self, *arguments: str, secrets: Path, name: str = "", environ: dict[str, str] | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """只读的根、没有任何可写的挂载、没有权能、不许提权；给了名字就在后台。"""
        settings = [part for key, value in (environ or {}).items() for part in ("--env", f"{key}={value}")]
        background = ("--detach", "--name", name) if name else ("--rm",)
        return self.podman(
            "run", *background, "--pull=never", "--network", "host", "--read-only", "--read-only-tmpfs=false",
            "--cap-drop", "all", "--security-opt", "no-new-privileges", *self._limits,
            "--volume", f"{secrets}:/run/secrets:ro", *settings, IMAGE, *arguments,
            check=check,
        )  # fmt: skip

    def inside(self, name: str, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.podman("exec", name, *command, check=check)

    def is_healthy(self, name: str) -> bool:
        return self.podman("healthcheck", "run", name, check=False).returncode == 0

    def resident(self, name: str) -> int:
        """1 号进程的常驻内存，MiB。"""
        pid = self.podman("inspect", "--format", "{{.State.Pid}}", name).stdout.strip()
        line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS"))
        return int(line.split()[1]) // 1024

    def stop(self, name: str) -> int:
        """体面地停；返回退出码。"""
        self.podman("stop", "--time", "40", name)
        return int(self.podman("inspect", "--format", "{{.State.ExitCode}}", name).stdout)
