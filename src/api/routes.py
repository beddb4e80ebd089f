"""全部路由。文档、路由器、契约测试都看这一处。"""

from __future__ import annotations

from api.endpoints.endpoint import Endpoint
from api.openapi import docs
from api.resources import (
    acknowledgements,
    audit_trail,
    health,
    holders,
    limits,
    metrics,
    orders,
    pauses,
    schedules,
    sim_changes,
    sim_imports,
    sims,
    stats,
    tasks,
    users,
    verdict,
    workers,
)

ROUTES: tuple[Endpoint, ...] = (
    *users.ROUTES,
    *orders.ROUTES,
    *sims.ROUTES,
    *sim_imports.ROUTES,
    *sim_changes.ROUTES,
    *tasks.ROUTES,
    *schedules.ROUTES,
    *pauses.ROUTES,
    *holders.ROUTES,
    *limits.ROUTES,
    *workers.ROUTES,
    *stats.ROUTES,
    *verdict.ROUTES,
    *audit_trail.ROUTES,
    *acknowledgements.ROUTES,
    *health.ROUTES,
    *metrics.ROUTES,
    *docs.ROUTES,
)
