"""relay：把发件箱的行交给 SAQ 队列，把丢了的要回来，把过期的清掉。多少个一起跑都安全。"""

import gc
import sys

if sys.argv[0] == "-m":  # ``python -m relay`` 正要装载它：装的都要一直用，不在其中找垃圾；``run_process`` 再开
    gc.disable()
