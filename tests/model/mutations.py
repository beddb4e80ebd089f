"""全部变异。"""

from __future__ import annotations

from tests.model.mutations_inbox import INBOX_MUTATIONS
from tests.model.mutations_outbox import OUTBOX_MUTATIONS

MUTATIONS = (*INBOX_MUTATIONS, *OUTBOX_MUTATIONS)
