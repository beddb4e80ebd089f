"""几处都写的动作在审计里的名字：照着写，控制台照着筛。"""

from __future__ import annotations

USER_UPDATE, USER_DELETE = "user.update", "user.delete"
ORDER_UPDATE, ORDER_DELETE = "order.update", "order.delete"
SIM_REGISTER, SIM_UPDATE, SIM_DELETE = "sim.register", "sim.update", "sim.delete"
SIM_REFRESH, SIM_CHANGE = "sim.refresh", "sim.change"
TOKEN_CREATE, TOKEN_REVOKE = "token.create", "token.revoke"
TASK_CANCEL, TASK_RETRY, TASK_REPLAY = "task.cancel", "task.retry", "task.replay"
TASK_CHANGE, TASK_RESOLVE, TASK_DISCARD = "task.change", "task.resolve", "task.discard"
TASK_PAYLOAD = "task.payload"  # 看了载荷
PAUSE, RESUME = "pause.create", "pause.resume"
ACKNOWLEDGE, REMIND = "verdict.acknowledge", "verdict.remind"
TRY = "verdict.try"  # 告警试一声
LIMIT, LIFT = "limit.set", "limit.clear"
DRAIN = "worker.drain"
SESSION_END = "session.end"  # 结束了挡着我们的数据库会话
OUTBOX_REDRIVE = "outbox.redrive"
SCHEDULE_ENABLE, SCHEDULE_DISABLE = "schedule.enable", "schedule.disable"
SCHEDULE_RUN = "schedule.run"
CONSOLE_LOGIN, CONSOLE_LOGOUT = "console.login", "console.logout"
ON_SIMS = (SIM_REGISTER, SIM_UPDATE, SIM_DELETE, SIM_REFRESH, SIM_CHANGE)
ON_ENTITIES = (USER_UPDATE, USER_DELETE, ORDER_UPDATE, ORDER_DELETE, *ON_SIMS)
