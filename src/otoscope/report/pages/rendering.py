"""Pages from templates."""

from __future__ import annotations

from typing import Any

import jinja2


def render(template: str, **context: Any) -> str:
    """Fill a template; whatever a run calls its things is escaped."""
    from otoscope import __version__

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("otoscope.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(version=__version__, **context)
