"""A hook of mkdocs: links that leave docs/ lead to pages of the site, made of the files that they name.

A page may link `../examples/own_rule.py`, as it reads in the repository. On the site that file is a page of its own,
under `repository/`; a folder is a list of its files, each a page.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

CODE = re.compile(r"(^```.*?^```|``.*?``|`[^`\n]*`)", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\((?!https?:|#|mailto:)(?P<target>[^)#\s]+)(?P<anchor>#[^)\s]*)?\)")
PICTURE = re.compile(r'(?<=<img src=")(?!https?:|data:)(?P<target>[^"]+)(?=")')  # mkdocs leaves HTML as it is
LANGUAGES = {".py": "python", ".yaml": "yaml", ".yml": "yaml", ".toml": "toml", ".json": "json", ".sh": "sh"}


def links(text: str) -> list[str]:
    """The targets of a page's links into the repository, without their anchors."""
    return [m["target"] for part in CODE.split(text)[::2] for m in LINK.finditer(part)]


def relinked(text: str, source: str, place: str) -> str:
    """A page's text where it stands on the site.

    Args:
        text: Markdown whose links are as in the repository.
        source: The file that it was written in, from the root of the repository.
        place: The page that it stands on, from the root of the site.
    """

    def there(target: str) -> str:
        name = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        return posixpath.relpath(place_of(name), posixpath.dirname(place) or ".")

    def changed(part: str) -> str:
        part = LINK.sub(lambda found: f"]({there(found['target'])}{found['anchor'] or ''})", part)
        return PICTURE.sub(lambda found: there(found["target"]), part)

    parts = CODE.split(text)
    parts[::2] = map(changed, parts[::2])
    return "".join(parts)


def place_of(target: str) -> str:
    """Where the site has a file or folder of the repository."""
    inside = target.removeprefix("docs/")
    if inside != target and Path(target).suffix:
        return inside
    return f"repository/{target}.md" if not target.endswith(".md") else f"repository/{target[:-3]}-page.md"


def page_of(path: Path, name: str) -> str:
    """What stands on the page of a file or folder, with links as in the repository."""
    if path.is_dir():
        inside = sorted(p for p in path.iterdir() if p.name[0] not in "._" and p.suffix != ".pyc")
        lines = [f"* [{p.name}]({path.name}/{p.name})" for p in inside]
        return f"# {name}/\n\n" + "\n".join(lines) + "\n"
    if path.suffix == ".md":
        return path.read_text()
    return f"# {path.name}\n\n`{name}`\n\n````{LANGUAGES.get(path.suffix, 'text')}\n{path.read_text().rstrip()}\n````\n"


def on_files(files: Files, config: Any) -> Files:
    """Adds a page for everything that a page of docs/, or such a page, links outside docs/."""
    root = Path(config.config_file_path).parent
    waiting = [
        (f"docs/{file.src_uri}", (root / "docs" / file.src_uri).read_text()) for file in files.documentation_pages()
    ]
    while waiting:
        source, text = waiting.pop()
        for target in links(text):
            name = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
            place, path = place_of(name), root / name
            if files.get_file_from_path(place) is not None or not path.exists():
                continue  # what is not there mkdocs names, as the page that links it would
            made = page_of(path, name)
            files.append(File.generated(config, place, content=relinked(made, name, place)))
            waiting.append((name, made))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """The page with its links as the site needs them."""
    if page.file.generated_by:
        return markdown
    return relinked(markdown, f"docs/{page.file.src_uri}", page.file.src_uri)
