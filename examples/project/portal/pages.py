"""Turns a template into a page of the portal."""

import os
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from starlette.responses import HTMLResponse

LAYOUT = Path(__file__).parent / "templates" / "layout.html"


def page(template: Path, status: int = 200, *, title: str, **values: Any) -> HTMLResponse:
    """Fill in the template and put it into the layout; only values named `…_html` go in unescaped."""
    safe = {key: value if key.endswith("_html") else escape(str(value)) for key, value in values.items()}
    content = Template(template.read_text(encoding="utf-8")).substitute(safe)
    layout = Template(LAYOUT.read_text(encoding="utf-8"))
    brand = os.environ.get("APP_TITLE", "Acme")
    return HTMLResponse(
        layout.substitute(title=escape(title), brand=escape(brand), content=content), status_code=status
    )
