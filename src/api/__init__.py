"""HTTP 服务：组合根、中间件、每种资源一个文件。"""

import gc
import sys

if sys.argv[0] == "-m":  # ``python -m api`` 正要装载它：装的都要一直用，不在其中找垃圾；``run_process`` 再开
    gc.disable()
