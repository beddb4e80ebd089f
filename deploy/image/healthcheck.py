"""镜像的 HEALTHCHECK：一个镜像三种进程，看 1 号进程是哪一种，问它自己的 ``/health/live``。

只说活着：数据库、Redis 不在是依赖的事，重启这个容器救不了（就绪另有 ``/health/ready``）。
"""

from __future__ import annotations

import os
import sys
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path

HERE = "127.0.0.1"
PATH = "/health/live"
TIMEOUT = 3.0  # 秒
PORTS = {
    "api": ("KAGUAN_API__PORT", "8080"),
    "relay": ("KAGUAN_RELAY__METRICS_PORT", "9101"),
    "worker": ("KAGUAN_WORKER__METRICS_PORT", "9102"),
    "workers": ("KAGUAN_WORKER__METRICS_PORT", "9102"),  # 它的包名：命令已换成 python -m workers
}


def main() -> int:
    """给了参数就当它是 1 号进程的命令行。迁移、一次性的命令没有可查的，算好；还没轮到 kaguan 的，算没有起来。"""
    words = sys.argv[1:] or Path("/proc/1/cmdline").read_text("utf-8").split("\0")
    name = next((word for word in words if word in PORTS), None)
    if name is None:
        return 0 if any(word.endswith("kaguan") for word in words) else 1
    variable, default = PORTS[name]
    port = os.environ.get(variable, default)
    # 直接连：不理会环境里的 http_proxy，也打不开别的协议
    connection = HTTPConnection(HERE, int(port), timeout=TIMEOUT)
    try:
        connection.request("GET", PATH)
        found: object = connection.getresponse().status
    except (OSError, HTTPException) as error:
        found = error
    finally:
        connection.close()
    if found == HTTPStatus.OK:
        return 0
    sys.stderr.write(f"{HERE}:{port}{PATH}：{found}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
