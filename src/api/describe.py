"""打印 OpenAPI 文档：``kaguan openapi``，YAML；加 ``--json`` 是 JSON。"""

from __future__ import annotations

import sys

import orjson

from api.openapi.document import as_yaml, build
from api.routes import ROUTES

if __name__ == "__main__":
    document = build(ROUTES)
    if "--json" in sys.argv[1:]:
        sys.stdout.write(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode() + "\n")
    else:
        sys.stdout.write(as_yaml(document))
