"""改动实体的动作在审计里的名字：API 照着写，控制台照着筛。"""

from __future__ import annotations

USER_UPDATE, USER_DELETE = "user.update", "user.delete"
ORDER_UPDATE, ORDER_DELETE = "order.update", "order.delete"
SIM_REGISTER, SIM_UPDATE, SIM_DELETE = "sim.register", "sim.update", "sim.delete"
ON_ENTITIES = (USER_UPDATE, USER_DELETE, ORDER_UPDATE, ORDER_DELETE, SIM_REGISTER, SIM_UPDATE, SIM_DELETE)
