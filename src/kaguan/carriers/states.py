"""各方言的状态码 → 规范状态。认不出的一律 ``unknown``，由调用方计数，从不抛异常。"""

from __future__ import annotations

from kaguan.sims.model import LifecycleState

# OneLink EC v5 cardStatus（开源平台 IoTOS 的 CardStateTransition.getEcV5Status 所列）
ONELINK: dict[str, LifecycleState] = {
    "1": LifecycleState.PENDING_ACTIVATION,
    "2": LifecycleState.ACTIVE,
    "4": LifecycleState.SUSPENDED,
    "6": LifecycleState.TESTING,
    "7": LifecycleState.INVENTORY,
    "8": LifecycleState.PRE_CANCELLED,
}

# Cisco Control Center「SIM Status Values」（developer.cisco.com/docs/control-center）
CONTROL_CENTER: dict[str, LifecycleState] = {
    "TEST_READY": LifecycleState.TESTING,
    "INVENTORY": LifecycleState.INVENTORY,
    "ACTIVATION_READY": LifecycleState.PENDING_ACTIVATION,
    "ACTIVATED": LifecycleState.ACTIVE,
    "DEACTIVATED": LifecycleState.SUSPENDED,
    "RETIRED": LifecycleState.CANCELLED,
    "PURGED": LifecycleState.CANCELLED,
    "REPLACED": LifecycleState.CANCELLED,
}
