"""SIM 的词汇：运营商、生命周期、停机原因、在线状态、同步的种类、变更与它的回执。"""

from __future__ import annotations

from enum import StrEnum

PACKAGE = "kaguan.sims"  # .sql 文件在的包


class Carrier(StrEnum):
    ONELINK = "onelink"
    CONTROL_CENTER = "control_center"


class LifecycleState(StrEnum):
    INVENTORY = "inventory"
    TESTING = "testing"
    PENDING_ACTIVATION = "pending_activation"
    ACTIVE = "active"
    SUSPENDED = "suspended"
    PRE_CANCELLED = "pre_cancelled"
    CANCELLED = "cancelled"
    UNKNOWN = "unknown"


class SuspendReason(StrEnum):
    """为什么停机；运营商不说就没有，说了而认不出是 ``unknown``。"""

    REQUESTED = "requested"  # 客户主动停
    ARREARS = "arrears"  # 欠费
    OVER_LIMIT = "over_limit"  # 用量超了
    DEVICE_MISMATCH = "device_mismatch"  # 机卡分离
    BY_CARRIER = "by_carrier"  # 运营商管理停机
    UNKNOWN = "unknown"


class SessionState(StrEnum):
    """此刻有没有数据会话。"""

    ONLINE = "online"
    OFFLINE = "offline"
    UNKNOWN = "unknown"


class SyncType(StrEnum):
    SIM_INFO = "sim_info"
    SIM_STATUS = "sim_status"
    USAGE = "usage"


class Change(StrEnum):
    """在运营商那里改一张卡。"""

    SUSPEND = "suspend"
    RESUME = "resume"
    ACTIVATE = "activate"
    PLAN = "plan"


class ReceiptStatus(StrEnum):
    """一张卡的变更到了哪一步；随它的任务走。"""

    PENDING = "pending"
    SUCCEEDED = "succeeded"
    REFUSED = "refused"  # 我们自己没有受理，或运营商不肯
    FAILED = "failed"  # 没做成，或人取消了
    UNCERTAIN = "uncertain"  # 也许做过，等人定夺
