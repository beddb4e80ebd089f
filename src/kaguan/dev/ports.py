"""本机端口：第一次挑一个空闲的，之后一直用它；同时起步的几套各占各的。"""

from __future__ import annotations

import socket
from dataclasses import dataclass, field

from kaguan.flow.probes import LOOPBACK


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


def is_free(port: int, host: str = LOOPBACK) -> bool:
    """能否在 ``host:port`` 上监听。"""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True


@dataclass(slots=True)
class PortClaims:
    """一套栈占下的端口号，随进程消失。

    看过空闲到子进程真的监听，隔着好几秒：两套同时起步会看上同一个。占住的是同号的 UDP 口，
    不碍子进程监听 TCP，却只有一套占得到；不占 TCP，是因为占了子进程就监听不了。
    """

    held: dict[int, socket.socket] = field(default_factory=dict)

    def take(self, port: int, host: str = LOOPBACK) -> bool:
        """``host:port`` 空闲，且没有别的一套占着。"""
        if not is_free(port, host):
            return False
        if port in self.held:
            return True
        claim = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            claim.bind((LOOPBACK, port))
        except OSError:
            claim.close()
            return False
        self.held[port] = claim
        return True

    def release(self) -> None:
        for claim in self.held.values():
            claim.close()
        self.held.clear()
