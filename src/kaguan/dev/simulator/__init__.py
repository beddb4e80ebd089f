"""运营商模拟器：独立进程，经 HTTP 说两种方言，卡群由种子算出，故障可调。

``python -m kaguan.dev.simulator --port N [--cards 100000 --seed S]``；管理接口在 ``/__admin``。
"""

from kaguan.dev.simulator.population import DEFAULT_CARDS, DEFAULT_SEED, Population, iccid_at

__all__ = ["DEFAULT_CARDS", "DEFAULT_SEED", "Population", "iccid_at"]
