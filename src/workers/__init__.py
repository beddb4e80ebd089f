"""workers：从 SAQ 取投递，在 PostgreSQL 认领，执行处理器，结算。"""

import gc
import sys

if sys.argv[0] == "-m":  # ``python -m workers`` 正要装载它：装的都要一直用，不在其中找垃圾；``run_process`` 再开
    gc.disable()
