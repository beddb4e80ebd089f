"""``kaguan`` 命令，由 :mod:`tests.support.warm` 的解释器分出来跑：这一头只交出自己的输入输出，等退出码。"""

import json
import os
import signal
import socket
import struct
import sys

control = socket.socket(fileno=os.dup(int(os.environ.pop("WARM"))))
ours, theirs = socket.socketpair()
asked = ["kaguan.cli.app:main", sys.argv[1:], os.getcwd(), dict(os.environ)]  # noqa: PTH109 不导入 pathlib
socket.send_fds(control, [json.dumps(asked).encode()], [0, 1, 2, theirs.fileno()])
theirs.close()
(pid,) = struct.unpack("i", ours.recv(4))
signal.signal(signal.SIGINT, lambda number, _: os.kill(pid, number))
(code,) = struct.unpack("i", ours.recv(4))
sys.exit(code if code >= 0 else 128 - code)
