"""The templates of Pippin's pages: one style, escaped text, nothing loaded."""

from __future__ import annotations

import unicodedata
from typing import Any

from pippin.report.units import count, duration, moment, significant


def render_template(package: str, name: str, **values: Any) -> str:
    """Fills a template, with everything that is not a template's own text escaped.

    Args:
        package: whose folder `templates` holds it; what it extends and imports may be of `pippin.report`.
        name: of the template.
        values: what it refers to; `version` and `command` at least.
    """
    from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    shared = PackageLoader("pippin.report")
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(package), shared]),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=lambda value: printable(value) if type(value) is str else value,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style, _, _ = shared.get_source(environment, "report.css")
    environment.filters |= {
        "markup": Markup,
        "count": count,
        "duration": duration,
        "moment": moment,
        "significant": significant,
    }
    return environment.get_template(name).render(style=Markup(style), **values)


def printable(text: str) -> str:
    """Text with the control characters that HTML cannot hold shown as U+FFFD."""
    return "".join(
        "\ufffd" if unicodedata.category(char) == "Cc" and char not in "\n\t" else char for char in text
    )
