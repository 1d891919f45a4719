"""`python -m trimtab_worker.gateway FILE` writes the OpenAPI document; a test keeps the committed one in step."""

from __future__ import annotations

import sys
from pathlib import Path

from trimtab_worker.gateway.routes import openapi_text

Path(sys.argv[1]).write_text(openapi_text(), encoding="utf-8")
