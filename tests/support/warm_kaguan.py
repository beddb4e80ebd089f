"""``kaguan`` 命令，由 :mod:`tests.support.warm` 的解释器分出来跑：这一头只交出自己的输入输出，等退出码。"""

import json
import os
import signal
import socket
import struct
import sys
import threading
from contextlib import suppress

signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # 先拦下：知道转给谁之前来的、正要去等时来的，都不会错过
control = socket.socket(fileno=os.dup(int(os.environ.pop("WARM"))))
ours, theirs = socket.socketpair()
asked = ["kaguan.cli.app:main", sys.argv[1:], os.getcwd(), dict(os.environ)]  # noqa: PTH109 不导入 pathlib
socket.send_fds(control, [json.dumps(asked).encode()], [0, 1, 2, theirs.fileno()])
theirs.close()
(pid,) = struct.unpack("i", ours.recv(4))


def forward() -> None:
    while True:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.sigwait({signal.SIGINT}))


threading.Thread(target=forward, daemon=True).start()
(code,) = struct.unpack("i", ours.recv(4))
sys.exit(code if code >= 0 else 128 - code)
