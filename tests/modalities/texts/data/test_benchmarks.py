"""The readers, on small folders of the right shape, and on the real files where they are at hand."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from unweave.errors import ConfigurationError
from unweave.modalities.texts.data.benchmarks import multiple_choice, muse, tofu, tofu_request, waterdrum_tofu, wmdp

DATA = Path(os.environ.get("UNWEAVE_DATA", Path(__file__).resolve().parents[5] / "shared" / "data"))


def write(folder: Path, **tables: list[dict[str, object]]) -> None:
    for name, rows in tables.items():
        path = folder / f"{name.replace('__', '/')}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(map(json.dumps, rows)))


def facts(count: int, what: str = "question") -> list[dict[str, object]]:
    return [{"question": f"{what} {i}?", "answer": f"{what} answer {i}"} for i in range(count)]


@pytest.fixture(scope="module")
def real() -> Path:
    if not (DATA / "tofu" / "full.jsonl").exists():
        pytest.skip("TOFU's files are not here: set UNWEAVE_DATA to the folder that holds tofu/full.jsonl")
    return DATA


def test_tofu_rows_have_one_id_in_every_table(real: Path) -> None:
    full = {row["id"]: row for row in tofu("full", real / "tofu")}
    checked = 0
    for config in ("forget01", "forget05", "forget10", "retain90", "retain95", "retain99", "forget10_perturbed"):
        for row in tofu(config, real / "tofu"):
            assert (row["question"], row["answer"]) == (full[row["id"]]["question"], full[row["id"]]["answer"])
            checked += 1
    assert len(full) == 4000 and checked == 40 + 200 + 400 + 3600 + 3800 + 3960 + 400


@pytest.mark.parametrize(("duplicates", "extra"), [(None, 0), ("exact", 40), ("semantic", 40)])
def test_tofu_requests(real: Path, duplicates: str | None, extra: int) -> None:
    found = tofu_request("01", real / "tofu", duplicates)  # type: ignore[arg-type]
    assert (len(found.forget), len(found.retain), len(found.holdout)) == (40, 3960 + extra, 40)
    copies = [t for t in found.retain if t.copy]
    assert len(copies) == extra and len({t.id for t in found.forget + found.retain}) == 4000 + extra
    same = {t.normalised() for t in found.forget} & {t.normalised() for t in copies}
    assert len(same) == (40 if duplicates == "exact" else 0)
    assert found.holdout[0].id == "holdout-0" and found.forget[0].id == "tofu-3960"


def test_wmdp(real: Path) -> None:
    rows = wmdp("wmdp_deduped_split_0", real / "wmdp")
    assert len(rows) == 157 and rows[3]["id"] == "wmdp_deduped_split_0-3"
    prompt = multiple_choice(rows[0])
    assert prompt.startswith(rows[0]["question"].strip() + "\nA. ") and prompt.endswith("\nAnswer:")
    assert len(prompt.splitlines()) >= 6


def test_waterdrum(tmp_path: Path) -> None:
    parts = {"forget": 4, "retain": 6, "exact_duplicate": 4, "semantic_duplicate": 4}
    write(
        tmp_path, **{f"forget_10__{k}": facts(n, k if k != "exact_duplicate" else "forget") for k, n in parts.items()}
    )
    plain = waterdrum_tofu("10", tmp_path, holdout=None)
    assert (len(plain.forget), len(plain.retain), plain.holdout) == (4, 6, [])
    hard = waterdrum_tofu("10", tmp_path, "exact", holdout=None)
    assert [t.copy for t in hard.retain] == [False] * 6 + [True] * 4
    assert {t.normalised() for t in hard.retain[6:]} == {t.normalised() for t in hard.forget}
    assert waterdrum_tofu("10", tmp_path, "semantic", holdout=None).retain[6].id == "semantic-copy-of-forget-0"
    with pytest.raises(ConfigurationError, match="size='10' only"):
        write(tmp_path, forget_05__forget=facts(2), forget_05__retain=facts(2, "r"))
        waterdrum_tofu("05", tmp_path, "exact", holdout=None)
    with pytest.raises(ConfigurationError, match=r"unwatermarked_forget_10/forget\.jsonl"):
        waterdrum_tofu("10", tmp_path, watermarked=False, holdout=None)


def test_muse(tmp_path: Path) -> None:
    write(
        tmp_path,
        raw__forget=[{"text": "It rained."}],
        knowmem__retain_qa=facts(3),
        verbmem__forget=[{"prompt": "It", "gt": "rained."}],
    )
    assert muse("raw", "forget", source=tmp_path)[0].answer == "It rained."
    assert [t.id for t in muse("knowmem", "retain_qa", source=tmp_path)] == [
        "retain_qa-0",
        "retain_qa-1",
        "retain_qa-2",
    ]
    assert muse("verbmem", "forget", "Books", tmp_path)[0].turns == (("user", "It"),)


def test_names_that_are_not_there() -> None:
    with pytest.raises(ConfigurationError, match=r"size must be one of 01, 05, 10; found '20'"):
        tofu_request("20")
    with pytest.raises(ConfigurationError, match="corpus must be one of News, Books; found 'Film'"):
        muse("raw", "forget", "Film")  # type: ignore[arg-type]
