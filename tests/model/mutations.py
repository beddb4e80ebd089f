"""全部变异。"""

from __future__ import annotations

from tests.model.mutations_changes import CHANGE_MUTATIONS
from tests.model.mutations_claim import CLAIM_ID_MUTATIONS
from tests.model.mutations_history import HISTORY_MUTATIONS
from tests.model.mutations_outbox import OUTBOX_MUTATIONS
from tests.model.mutations_standby import STANDBY_MUTATIONS
from tests.model.mutations_worker import WORKER_MUTATIONS

MUTATIONS = (
    *CLAIM_ID_MUTATIONS,
    *WORKER_MUTATIONS,
    *OUTBOX_MUTATIONS,
    *HISTORY_MUTATIONS,
    *STANDBY_MUTATIONS,
    *CHANGE_MUTATIONS,
)
