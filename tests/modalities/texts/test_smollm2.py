"""A real model on real texts: SmolLM2-135M-Instruct with LoRA forgets two authors of TOFU. Skipped where absent."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from unweave.modalities import read
from unweave.run.runner import run

ROOT = Path(__file__).parents[3]
MODEL = Path(os.environ.get("UNWEAVE_MODEL", "nowhere"))
TOFU = Path(os.environ.get("UNWEAVE_TOFU", ROOT.parent / "shared" / "data" / "tofu"))
SMALL = [
    *(
        f"data.path={TOFU}",
        "data.retain_sample=8",
        f"model={{weights: '{MODEL}', lora: {{rank: 4, targets: [v_proj]}}}}",
    ),
    *("training={}", "step.lr=0.01", "run={steps: 2, forget_batch: 4, retain_batch: 4}"),
    *(
        "evaluation={quote: false, at_most: 1, generate: 0, relearning: none}",
        "contract=none",
        "method={name: graddiff}",
    ),
]


@pytest.mark.model
@pytest.mark.skipif(not (MODEL / "model.safetensors").is_file(), reason="UNWEAVE_MODEL names no model: make modeltest")
@pytest.mark.skipif(not (TOFU / "full.jsonl").is_file(), reason="no TOFU here: set UNWEAVE_TOFU to its folder")
def test_forgets_two_authors(tmp_path: Path) -> None:
    summary = run(read(ROOT / "examples" / "recipes" / "smollm2-tofu.yaml", SMALL), tmp_path / "out")
    assert (summary["status"], summary["steps"], summary["forget"], summary["retain"]) == ("done", 2, 40, 8)
    scores = json.loads((tmp_path / "out" / "scores.json").read_text())["models"]
    before, after = (scores[name]["forget_probability"]["value"] for name in ("original", "unlearned"))
    assert 0.05 < before < 0.5 and after < before, "it speaks English, and less of it about them"
    assert {"model_utility", "real_authors_probability", "forget_truth_ratio"} <= set(scores["unlearned"])
