"""路由：tasks。"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from api.endpoint import Endpoint

ROUTES: tuple[Endpoint, ...] = ()
