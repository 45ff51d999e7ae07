"""Every edit is found: 200 random ones, of the truth and of every file that it speaks of."""

from __future__ import annotations

import json
import random
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.ledger._ledgers import small
from unweave.errors import ConfigurationError
from unweave.ledger import Deletion, Ledger, Selector, certified, verify
from unweave.ledger.chain import Entry
from unweave.ledger.publish import publish

Edit = Callable[[Path, random.Random], None]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ledgers") / "original"
    small(folder)
    return folder


@pytest.fixture
def ledger(original: Path, tmp_path: Path) -> Ledger:
    return Ledger(Path(shutil.copytree(original, tmp_path / "copy")))


def lines(folder: Path) -> list[bytes]:
    return (folder / "ledger.jsonl").read_bytes().splitlines(keepends=True)


def write(folder: Path, found: list[bytes]) -> None:
    (folder / "ledger.jsonl").write_bytes(b"".join(found))


def a_byte(path: Path, dice: random.Random) -> None:
    content = bytearray(path.read_bytes())
    content[dice.randrange(len(content))] ^= 1 << dice.randrange(8)
    path.write_bytes(content)


def byte_of_the_truth(folder: Path, dice: random.Random) -> None:
    a_byte(folder / "ledger.jsonl", dice)


def line_gone(folder: Path, dice: random.Random) -> None:
    found = lines(folder)
    del found[dice.randrange(len(found))]
    write(folder, found)


def lines_swapped(folder: Path, dice: random.Random) -> None:
    found = lines(folder)
    a, b = dice.sample(range(len(found)), 2)
    found[a], found[b] = found[b], found[a]
    write(folder, found)


def line_twice(folder: Path, dice: random.Random) -> None:
    found = lines(folder)
    found.insert(dice.randrange(len(found) + 1), dice.choice(found))
    write(folder, found)


def foreign_line(folder: Path, dice: random.Random) -> None:
    found = lines(folder)
    found.insert(dice.randrange(len(found) + 1), dice.choice([b"{}\n", b"\n", b"[" * 5000 + b"\n", b'{"number":1}\n']))
    write(folder, found)


def cut_anywhere(folder: Path, dice: random.Random) -> None:
    content = (folder / "ledger.jsonl").read_bytes()
    (folder / "ledger.jsonl").write_bytes(content[: dice.randrange(len(content))])


def last_lines_gone(folder: Path, dice: random.Random) -> None:
    found = lines(folder)
    write(folder, found[: dice.randrange(len(found))])


def changed(raw: bytes, previous: str | None = None) -> Entry:
    """An entry of another time, with the hash that then belongs to it, and the old seal: the key is not there."""
    entry = replace(Entry(**json.loads(raw)), time="2020-01-01T00:00:00+00:00")
    entry = entry if previous is None else replace(entry, previous=previous)
    return replace(entry, hash=entry.digest)


def entry_and_its_hash(folder: Path, dice: random.Random) -> None:
    found = lines(folder)
    place = dice.randrange(len(found))
    found[place] = changed(found[place]).line + b"\n"
    write(folder, found)


def entry_and_all_hashes_after_it(folder: Path, dice: random.Random) -> None:
    found, previous = lines(folder), None
    for place in range(dice.randrange(len(found)), len(found)):
        entry = changed(found[place], previous)
        found[place], previous = entry.line + b"\n", entry.hash
    write(folder, found)


def of(pattern: str) -> Edit:
    def edit(folder: Path, dice: random.Random) -> None:
        a_byte(dice.choice(sorted(folder.glob(pattern))), dice)

    edit.__name__ = pattern
    return edit


KINDS = {"opened", "request", "rejection", "batch", "certificate", "attestation", "end"}
EDITS: tuple[Edit, ...] = (
    *(byte_of_the_truth, line_gone, lines_swapped, line_twice, foreign_line, cut_anywhere, last_lines_gone),
    *(entry_and_its_hash, entry_and_all_hashes_after_it),
    *map(of, ("runs/*/*/model/model.safetensors", "runs/*/*/recipe.yaml", "runs/*.yaml", "private/*/*.json")),
    *map(of, ("certificates/*.json", "certificates/*.md", "evidence/*.json")),
    *map(of, ("runs/*/*/summary.json", "runs/*/*/scores.json")),
)


def test_200_random_edits_are_found(ledger: Ledger) -> None:
    dice, found, whole = random.Random(0), Counter[str](), lines(ledger.folder)
    clean = verify(ledger)
    assert not clean.faults and not clean.notes and clean.certificates == 2 and clean.attestations == 1
    assert clean.entries == len(whole) and {Entry(**json.loads(line)).kind for line in whole} == KINDS
    saved = {path: path.read_bytes() for path in ledger.folder.rglob("*") if path.is_file()}
    while found.total() < 200:
        edit = EDITS[found.total() % len(EDITS)]
        edit(ledger.folder, dice)
        touched = [path for path, content in saved.items() if path.read_bytes() != content]
        if not touched:  # two equal lines were swapped
            continue
        seen = verify(ledger)
        assert seen.refuted, (edit.__name__, touched)
        assert all(str(fault) for fault in seen.faults)
        found[edit.__name__] += 1
        for path in touched:
            path.write_bytes(saved[path])
    assert not verify(ledger).faults
    assert len(found) == len(EDITS) and min(found.values()) >= 200 // len(EDITS)


def test_a_card_that_was_edited_is_told_from_one_with_text_of_others(ledger: Ledger) -> None:
    """Of 100 bytes that were flipped in a card of ours alone none goes by; text around the section is allowed."""
    path, dice, refuted, noted = ledger.folder / "runs/0001/01-R-1/model/README.md", random.Random(2), 0, 0
    whole = path.read_bytes()
    for _ in range(100):
        a_byte(path, dice)
        seen = verify(ledger)
        refuted += seen.refuted
        noted += not seen.faults and any("text of others" in note for note in seen.notes)
        path.write_bytes(whole)
    assert refuted + noted == 100 and refuted >= 90
    path.write_bytes(whole.replace(b"contract met", b"contract met!"))
    assert "card of R-1" in str(verify(ledger).faults[0]) and verify(ledger).refuted
    path.write_bytes(b"# Our model\n\n" + whole)  # metadata are no metadata any more
    assert verify(ledger).refuted
    path.write_bytes(whole.replace(b"---\n\n<!--", b"license: mit\n---\n# Ours\n\n<!--"))
    seen = verify(ledger)
    assert not seen.faults and "text of others" in " ".join(seen.notes)
    publish(ledger)
    assert not verify(ledger).faults and b"license: mit" in path.read_bytes()
    path.unlink()
    assert "writes it again" in str(verify(ledger).faults[0]) and not verify(ledger).refuted
    publish(ledger)
    assert path.read_bytes() == whole and not verify(ledger).notes


def test_a_message_says_what_was_done(ledger: Ledger) -> None:
    whole = lines(ledger.folder)
    cases = {
        "line 4: expected entry 4, found 5: entries are missing or in another order": whole[:3] + whole[4:],
        "line 3: entry 3 (request) was edited": [*whole[:2], whole[2].replace(b"GDPR", b"GDPS"), *whole[3:]],
        "cut short: the index knows entry 12, the last one here is 9": whole[:9],
        "line 5: expected an entry of the ledger": [*whole[:4], b"x\n", *whole[5:]],
    }
    for text, content in cases.items():
        write(ledger.folder, content)
        said = [str(fault) for fault in verify(ledger).faults]
        assert any(text in each for each in said), (text, said)
        with pytest.raises(ConfigurationError, match="damaged"):  # nothing is built on it
            ledger.add(Deletion("R-9", Selector(classes=(1,))))
        assert lines(ledger.folder) == content


def test_one_deleted_line_is_one_fault(ledger: Ledger) -> None:
    whole = lines(ledger.folder)
    write(ledger.folder, whole[:3] + whole[4:])
    assert len([fault for fault in verify(ledger).faults if fault.place.startswith("line")]) == 1


def test_the_end_cut_off_together_with_the_index(ledger: Ledger) -> None:
    """What a chain cannot know by itself: it takes an anchor, a certificate or a head that was kept elsewhere."""
    whole, head = lines(ledger.folder), verify(ledger).head
    last = next(n for n, line in enumerate(whole) if b'"certificate"' in line) + 1
    (ledger.folder / "index.sqlite").unlink()
    write(ledger.folder, whole[:-1])  # after the last certificate
    seen = verify(ledger)
    assert not seen.faults and "cut off" in " ".join(seen.notes)
    assert verify(ledger, [head[:16]]).refuted and not verify(ledger, [seen.head]).faults
    write(ledger.folder, whole[:last])  # the second certificate is gone from the truth, and lies in its file
    assert "certificates/R-2.json" in " ".join(map(str, verify(ledger).faults))
    with pytest.raises(ConfigurationError, match="at least 12"):
        verify(ledger, ["abc"])


def test_an_older_copy_is_found(ledger: Ledger) -> None:
    old = (ledger.folder / "ledger.jsonl").read_bytes()
    ledger.add(Deletion("R-9", Selector(classes=(1,))))
    (ledger.folder / "ledger.jsonl").write_bytes(old)
    assert "cut short" in str(verify(ledger).faults[0])


def test_files_that_moved_are_named_and_refute_nothing(ledger: Ledger) -> None:
    model = ledger.folder / "runs/0001/01-R-1/model/model.safetensors"
    elsewhere = model.rename(ledger.folder.parent / "moved.safetensors")
    seen = verify(ledger)
    assert len(seen.faults) == 1 and not seen.refuted
    assert "--model" in str(seen.faults[0]) and "certificate of R-1" in str(seen.faults[0])
    assert certified(ledger, elsewhere) == ["R-1"]
    assert certified(ledger, ledger.folder / "runs/0001/02-R-2/model") == ["R-2"]
    elsewhere.write_bytes(b"another")
    assert certified(ledger, elsewhere) == []
    (ledger.folder / "certificates/R-2.json").unlink()
    assert "writes it again" in str(verify(ledger).faults[-1]) and not verify(ledger).refuted


def test_without_the_key_and_with_another(ledger: Ledger, tmp_path: Path) -> None:
    key = (ledger.private / "key").rename(tmp_path / "key")
    seen = verify(Ledger(ledger.folder))
    assert not seen.faults and "no key" in seen.notes[0]
    with pytest.raises(ConfigurationError, match="expected the ledger's key"):
        Ledger(ledger.folder).add(Deletion("R-9", Selector(classes=(1,))))
    assert not verify(Ledger(ledger.folder, key)).notes
    key.chmod(0o644)
    assert "chmod 600" in verify(Ledger(ledger.folder, key)).notes[0]
    key.write_text("00" * 32)
    for act in (verify, lambda each: each.add(Deletion("R-9", Selector(classes=(1,))))):
        with pytest.raises(ConfigurationError, match="expected the key"):
            act(Ledger(ledger.folder, key))


def test_an_index_that_was_edited_is_not_the_truth(ledger: Ledger) -> None:
    import sqlite3

    path = ledger.folder / "index.sqlite"
    with sqlite3.connect(path) as database:
        database.execute("update requests set status = 'open'")
    database.close()
    assert "index.sqlite" in str(verify(ledger).faults[0]) and not verify(ledger).refuted
    path.write_bytes(b"no database at all, but long enough to be looked at" * 40)
    assert "cannot be read" in str(verify(ledger).faults[0])
    with pytest.warns(UserWarning, match="made again"):
        ledger.read()
    assert not verify(ledger).faults
    assert [row["status"] for row in ledger.index.requests()].count("certified") == 2
