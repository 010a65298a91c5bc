"""HTML from templates with automatic escaping; `templates/elements.html` has the elements that all sections are made of."""

import json

from jinja2 import Environment, PackageLoader, StrictUndefined

from ray_ue.results.pareto import format_point
from ray_ue.results.text import format_number, format_percent, format_score, format_score_in_sentence


def format_value(value: object) -> str:
    """A value of a request, a recipe or a description in one line."""
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        return ", ".join(f"{name} {format_value(entry)}" for name, entry in value.items())
    return ", ".join(map(format_value, value)) if isinstance(value, list) else json.dumps(value, ensure_ascii=False)


TEMPLATES = Environment(
    loader=PackageLoader("ray_ue.report"), autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined
)
TEMPLATES.filters |= {"percent": format_percent, "number": format_number, "value": format_value, "point": format_point}
TEMPLATES.filters |= {"score": format_score, "score_in_sentence": format_score_in_sentence}


def render(template: str, **values: object) -> str:
    """A template of this package with `values`; texts are escaped."""
    return TEMPLATES.get_template(template).render(values)
