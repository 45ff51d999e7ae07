"""Tutorials as notebooks: pages of docs/tutorials whose python blocks are cells, executed when the site is built.

A hook of mkdocs: each page is shown with what its cells print and draw, and offered as an .ipynb. By itself,
`python scripts/notebooks.py docs/tutorials/vision.md` writes that notebook, not executed, into the working directory.
"""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

BLOCK = re.compile(r"^```python\n(?P<code>.*?)^```\n", re.DOTALL | re.MULTILINE)
SECONDS = 120  # a cell may take, on a busy machine
Json = dict[str, Any]
_PAGES: dict[str, str] = {}  # a page of the site: its text, with the outputs of its cells


def notebook(page: str) -> Json:
    """A page as a notebook of format 4.5: its python blocks are cells of code, all between them is text."""
    cells: list[Json] = []

    def add(kind: str, text: str) -> None:
        more = {"execution_count": None, "outputs": []} if kind == "code" else {}
        cells.append(
            {"cell_type": kind, "id": f"cell-{len(cells)}", "metadata": {}, "source": text.strip("\n"), **more}
        )

    end = 0
    for block in BLOCK.finditer(page):
        if page[end : block.start()].strip():
            add("markdown", page[end : block.start()])
        add("code", block["code"])
        end = block.end()
    if page[end:].strip():
        add("markdown", page[end:])
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}


def executed(made: Json, name: str) -> Json:
    """The notebook with its outputs.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell raised; the message has the cell and the traceback.
    """
    import nbformat
    from nbclient import NotebookClient

    with tempfile.TemporaryDirectory() as folder:
        # what runs leaves nothing in the home folder, and finds nothing there
        aside = dict.fromkeys(("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "UNWEAVE_CACHE"), folder)
        os.environ.update(aside, OMP_NUM_THREADS="1")
        work = Path(folder) / "work"
        work.mkdir()
        client = NotebookClient(
            nbformat.from_dict(made),
            timeout=SECONDS,
            startup_timeout=SECONDS,
            kernel_name="python3",
            resources={"metadata": {"path": str(work)}},
            extra_arguments=["--log-level=40"],  # not that nobody encrypts what stays on this machine
        )
        print(f"notebook {name}", file=sys.stderr)
        done = client.execute()
    for cell in done["cells"]:  # what libraries say on stderr speaks of the machine that built the site
        if "outputs" in cell:
            cell["outputs"] = [output for output in cell["outputs"] if output.get("name") != "stderr"]
    return done


def shown(cell: Json) -> str:
    """A cell as Markdown: its code, then what it printed and drew."""
    if cell["cell_type"] == "markdown":
        return cell["source"] + "\n"
    parts = [f"```python\n{cell['source']}\n```\n"]
    printed = ""
    for output in cell["outputs"]:
        data = output.get("data", {})
        if output["output_type"] == "stream":
            printed += output["text"]
        elif "image/png" in data:
            parts.append(
                f'<img alt="drawn by the cell above" src="data:image/png;base64,{data["image/png"].strip()}">\n'
            )
        elif "text/html" in data:
            parts.append(f'<div class="output" markdown="0">\n{data["text/html"]}\n</div>\n')
        elif "text/plain" in data:
            printed += data["text/plain"] + "\n"
    if printed:
        parts.insert(1, f"```text\n{printed.rstrip()}\n```\n")
    return "\n".join(parts)


def on_files(files: Any, config: Any) -> Any:
    """Executes every tutorial, unless the site is only served, and adds it as an .ipynb."""
    from mkdocs.structure.files import File

    for file in list(files.documentation_pages()):
        if not file.src_uri.startswith("tutorials/") or not BLOCK.search(file.content_string):
            continue
        made = notebook(file.content_string)
        if not SERVED:
            made = executed(made, file.src_uri)
        name = file.src_uri.replace(".md", ".ipynb")
        files.append(File.generated(config, name, content=json.dumps(made, indent=1)))
        cells = "\n".join(map(shown, made["cells"]))
        _PAGES[file.src_uri] = f"{cells}\n[This page as a notebook]({Path(name).name})\n"
    return files


SERVED = False


def on_startup(command: str, **_: Any) -> None:
    """Notes what mkdocs is asked for: `serve` shows the cells without running them."""
    global SERVED
    SERVED = command == "serve"


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """The page with the outputs of its cells."""
    return _PAGES.get(page.file.src_uri, markdown)


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        source = Path(argument)
        Path(f"{source.stem}.ipynb").write_text(json.dumps(notebook(source.read_text()), indent=1))
