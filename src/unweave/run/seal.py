"""The files of a run vouch for each other: the last one that is written holds the SHA-256 of all, and of itself."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from unweave.errors import ConfigurationError
from unweave.store import file_sha256

KEY = "sha256"
Json = dict[str, Any]


def sealed(path: Path, content: Json, files: Iterable[Path]) -> Json:
    """What a file is to hold that vouches for others.

    Args:
        path: where it will be written.
        content: of it, as plain data that is strict JSON.
        files: others, below its folder.
    """
    others = {each.relative_to(path.parent).as_posix(): file_sha256(each) for each in sorted(files)}
    return {**content, KEY: {**others, path.name: _digest(content, others)}}


def check(path: Path, content: Any, *, also: Collection[str] | None = None) -> None:
    """Refuses what was changed since it was written; what is gone says nothing wrong, and is not asked for.

    Args:
        path: of the file that vouches.
        content: that was read from it; without a seal, as earlier versions wrote it, it is taken as it is.
        also: which others to look at, by the first part of their path; None is all.

    Raises:
        ConfigurationError: every file that is not what it was.
    """
    if not (isinstance(content, dict) and KEY in content):
        return
    seal, own = content[KEY], {key: value for key, value in content.items() if key != KEY}
    others = {name: digest for name, digest in seal.items() if name != path.name} if isinstance(seal, dict) else {}
    changed = [] if isinstance(seal, dict) and seal.get(path.name) == _digest(own, others) else [path.name]
    if not changed:  # or its list of the others is not to be believed
        looked = [name for name in others if also is None or name.partition("/")[0] in also]
        there = [name for name in looked if (path.parent / name).is_file()]
        changed = [name for name in there if file_sha256(path.parent / name) != others[name]]
    if changed:
        raise ConfigurationError(
            [f"{path.parent / name} was changed since it was written: its SHA-256 is another one" for name in changed]
            + ["what such a run says is not what it found: put back what was changed, or begin again with --overwrite"]
        )


def _digest(content: Json, others: Json) -> str:
    """Of a file without its seal, whatever its layout, together with what it says of the others."""
    return hashlib.sha256(json.dumps([content, others], sort_keys=True).encode()).hexdigest()
