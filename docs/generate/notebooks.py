"""A notebook as a page, with the outputs that were saved in it. It runs nothing and needs no Jupyter."""

import base64
import json
from pathlib import Path

PICTURES = {"image/png": "png", "image/jpeg": "jpg", "image/svg+xml": "svg"}
LONGEST = 20_000  # characters of one text output


def page(path: Path) -> tuple[str, dict[str, bytes]]:
    """(Markdown, pictures by the name that it calls them); a `ValueError` for a file that is no notebook of format 4."""
    book = json.loads(path.read_text(encoding="utf-8"))
    if book.get("nbformat") != 4:
        raise ValueError(f"{path} is no notebook of format 4; open and save it with a present Jupyter")
    language = book["metadata"].get("kernelspec", {}).get("language", "python")
    parts, pictures = [f"*A notebook: `notebooks/{path.name}`, with the outputs of its last run.*"], {}
    for number, cell in enumerate(book["cells"]):
        source = "".join(cell["source"]).strip()
        if cell["cell_type"] == "markdown":
            parts.append(source.replace("](../docs/", "](../"))  # the site has no docs/ above its pages
        elif cell["cell_type"] == "code" and source:
            parts.append(fenced(source, language))
            for place, output in enumerate(cell["outputs"]):
                text, drawn = _output(output, name=f"{path.stem}-{number}-{place}")
                parts.append(text)
                pictures |= drawn
    if parts[1:] and parts[1].startswith("# "):  # the page's title comes first
        heading, _, rest = parts[1].partition("\n")
        parts[:2] = [heading, parts[0], rest.strip()]
    return "\n\n".join(part for part in parts if part) + "\n", pictures


def fenced(text: str, language: str) -> str:
    """A code block whose fence is longer than any inside it."""
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}{language}\n{text}\n{fence}"


def _output(output: dict, *, name: str) -> tuple[str, dict[str, bytes]]:
    if output["output_type"] == "stream":
        return fenced("".join(output["text"])[:LONGEST].rstrip(), "text"), {}
    if output["output_type"] == "error":
        raise ValueError(f"{name}: the notebook was saved with an error, {output['ename']}: {output['evalue']}; run it again")
    data = output["data"]
    for kind, suffix in PICTURES.items():
        if kind in data:
            content = "".join(data[kind])
            file = f"{name}.{suffix}"
            return f"![]({file})", {file: content.encode() if suffix == "svg" else base64.b64decode(content)}
    if "text/markdown" in data:
        return "".join(data["text/markdown"]), {}
    if "text/html" in data and "<script" not in "".join(data["text/html"]):
        return "".join(data["text/html"]), {}
    return (fenced("".join(data["text/plain"])[:LONGEST], "text") if "text/plain" in data else ""), {}
