"""把 :mod:`tests.power.disk` 挂成文件系统：直接说内核的 FUSE 协议。

用到的不过二十种请求；库要编译，或跟着系统的解释器走，哪里装不上哪里就考不了。

``python -m tests.power.fuse <目录> posix|journal``：目录里现有的是盘上的，随即挂在它上面。根里有一个不列出来的
``.power``：往里写 ``<份额> <种子>`` 就断电，此后一切调用都是 EIO，直到卸下；卸下之后自己再挂上，只剩同步过的。
没断电就卸下，即退出。写是直通的（内核里没有攒着的），读可以走内核的页缓存。
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import NoReturn

from tests.power.disk import Disk
from tests.power.session import Session

DEVICE = "/dev/fuse"
FUSERMOUNT = "fusermount3"


def mounted(place: Path) -> int:
    """挂上，返回说话用的描述符。root 直接挂；别人经 fusermount3。"""
    if os.geteuid() == 0:
        device = os.open(DEVICE, os.O_RDWR)
        options = f"fd={device},rootmode=40000,user_id=0,group_id=0,allow_other,default_permissions"
        mount = ("mount", "-i", "-t", "fuse", "-o", options, "kaguan-power", str(place))
        subprocess.run(mount, pass_fds=[device], check=True)
        return device
    ours, theirs = socket.socketpair()
    with ours, theirs:
        mounter = (FUSERMOUNT, "-o", "default_permissions,fsname=kaguan-power", "--", str(place))
        handle = theirs.fileno()
        subprocess.run(mounter, pass_fds=[handle], env={**os.environ, "_FUSE_COMMFD": str(handle)}, check=True)
        return socket.recv_fds(ours, 1, 1)[1][0]


def unmount(place: Path) -> None:
    """还有人开着里面的文件也从名字空间里摘掉；最后一个关上，挂载才真的没了。"""
    argv = ("umount", "-l") if os.geteuid() == 0 else (FUSERMOUNT, "-u", "-z")
    subprocess.run([*argv, str(place)], check=False, stderr=subprocess.DEVNULL)


def main(place: Path, names: str) -> None:
    disk = Disk(place, journal=names == "journal")

    def leave() -> NoReturn:
        signal.sigwait({signal.SIGTERM})
        unmount(place)
        os._exit(0)

    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # 正要去读时来的，处理器等不到那一读回来
    threading.Thread(target=leave, daemon=True).start()
    while True:
        device = mounted(place)
        Session(disk, device).serve()
        os.close(device)
        if not disk.off:
            return
        disk.off = False


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
