"""一台自己的 Postfix：配置、队列、收件箱都在临时目录里，只听回环；不碰系统里的那一台。"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.support.mail_tasks import CERTIFICATES
from tests.support.places import own_port

DOMAIN = "kaguan.example"
POSTFIX = "/usr/sbin/postfix"
POLICY = Path("/usr/sbin/policy-rc.d")
NOBODY = 65_534  # virtual 不以低号用户的身份投递
SERVICES = {
    "cleanup": "unix n - n - 0 cleanup",
    "qmgr": "unix n - n 300 1 qmgr",
    "tlsmgr": "unix - - n 1000? 1 tlsmgr",
    "proxymap": "unix - - n - - proxymap",
    "rewrite": "unix - - n - - trivial-rewrite",
    "bounce": "unix - - n - 0 bounce",
    "defer": "unix - - n - 0 bounce",
    "trace": "unix - - n - 0 bounce",
    "error": "unix - - n - - error",
    "retry": "unix - - n - - error",
    "discard": "unix - - n - - discard",
    "virtual": "unix - n n - - virtual",
    "anvil": "unix - - n - 1 anvil",
    "postlog": "unix-dgram n - n - 1 postlogd",
}


@dataclass(frozen=True, slots=True)
class Postfix:
    port: int
    tls_port: int
    inbox: Path
    log: Path

    def url(self, mode: str) -> str:
        return f"smtps://127.0.0.1:{self.tls_port}" if mode == "implicit" else f"smtp://127.0.0.1:{self.port}"

    def arrived(self) -> list[bytes]:
        """收件箱里的每一封，原样。"""
        return [path.read_bytes() for path in self.inbox.iterdir()] if self.inbox.is_dir() else []

    def queued(self) -> int:
        """还在队列里的。"""
        queue = self.inbox.parents[2] / "queue"
        return sum(
            path.is_file()
            for name in ("incoming", "active", "deferred", "maildrop")
            for path in (queue / name).rglob("*")
        )


def install() -> None:
    """没有就从 Debian 装，不让包自己把服务带起来；装不了就失败。"""
    if os.geteuid() != 0:
        sys.exit("Postfix 要 root 才跑得起来：sudo make prove P=mta")
    if Path(POSTFIX).exists():
        return
    ours = not POLICY.exists()
    if ours:
        POLICY.write_text("#!/bin/sh\nexit 101\n", "ascii")
        POLICY.chmod(0o755)
    try:
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for command in (["update"], ["install", "-y", "--no-install-recommends", "postfix"]):
            run = ["apt-get", "-qq", *command]
            subprocess.run(run, env=environment, check=True, timeout=600, stdout=sys.stderr)  # 标准输出只有表
    finally:
        if ours:
            POLICY.unlink()


@contextmanager
def postfix() -> Iterator[Postfix]:
    """带起一台，离开时停掉、删净。"""
    with TemporaryDirectory(prefix="kaguan-mta-") as root:
        base = Path(root)
        base.chmod(0o755)
        for name in ("etc", "queue", "data", "mail"):
            (base / name).mkdir()
        shutil.chown(base / "data", "postfix")
        shutil.chown(base / "mail", NOBODY, NOBODY)
        shutil.copy(CERTIFICATES / "localhost.crt", base / "etc/server.crt")
        shutil.copy(CERTIFICATES / "localhost.key", base / "etc/server.key")
        server = Postfix(own_port(), own_port(), base / "mail/box/new", base / "log")
        (base / "etc/main.cf").write_text(_main(base), "ascii")
        (base / "etc/master.cf").write_text(_master(server), "ascii")
        run = [POSTFIX, "-c", str(base / "etc")]
        subprocess.run([*run, "start"], check=True, timeout=60)
        try:
            yield server
        finally:
            subprocess.run([*run, "stop"], check=True, timeout=60)


def _main(base: Path) -> str:
    settings = {
        "compatibility_level": "3.6",
        "queue_directory": f"{base}/queue",
        "data_directory": f"{base}/data",
        "maillog_file": f"{base}/log",
        "maillog_file_prefixes": str(base),
        "myhostname": "mta.localtest.example",
        "mydestination": "",
        "inet_protocols": "ipv4",
        "mynetworks": "127.0.0.0/8",
        "smtpd_relay_restrictions": "permit_mynetworks, reject",
        "local_header_rewrite_clients": "",  # 一个字节也不改
        "message_size_limit": str(40 * 1024 * 1024),
        "virtual_mailbox_domains": DOMAIN,
        "virtual_mailbox_base": f"{base}/mail",
        "virtual_mailbox_maps": "static:box/",
        "virtual_mailbox_limit": "0",
        "virtual_uid_maps": f"static:{NOBODY}",
        "virtual_gid_maps": f"static:{NOBODY}",
        "smtpd_tls_cert_file": f"{base}/etc/server.crt",
        "smtpd_tls_key_file": f"{base}/etc/server.key",
        "smtpd_tls_security_level": "may",
    }
    return "".join(f"{key} = {value}\n" for key, value in settings.items())


def _master(server: Postfix) -> str:
    listening = (
        f"127.0.0.1:{server.port} inet n - n - - smtpd\n"
        f"127.0.0.1:{server.tls_port} inet n - n - - smtpd -o smtpd_tls_wrappermode=yes\n"
    )
    return listening + "".join(f"{name} {service}\n" for name, service in SERVICES.items())
