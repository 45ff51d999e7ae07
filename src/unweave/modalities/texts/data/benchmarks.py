"""Tables of texts: a file, a folder, a data set of the Hugging Face hub, and the benchmarks of the field."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from unweave.data.text_file import READERS, Table, read_file
from unweave.errors import ConfigurationError
from unweave.extras import require
from unweave.modalities.texts.data.examples import Text, texts


def read_table(source: str | Path, *, config: str | None = None, split: str = "train") -> Table:
    """The rows of a data set.

    Args:
        source: a file `.jsonl`, `.json`, `.csv` or `.parquet`; a folder with such files named after `config` or
            `split` (`forget10.jsonl`, `raw/forget.jsonl`, `raw/forget-00000-of-00001.parquet`), or written by
            `datasets`; or a name on the hub, `owner/name`.
        config: which of a data set's tables.
        split: which part of it.

    Raises:
        ConfigurationError: nothing there, contents that cannot be read, or a hub that does not answer or asks for a
            login.
    """
    path = Path(source)
    try:
        is_file, is_folder = path.is_file(), path.is_dir()
    except OSError as error:  # a name that is too long, a folder that may not be looked into
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from error
    if is_file:
        return read_file(path)
    if is_folder:
        if (path / "dataset_info.json").exists() or (path / "dataset_dict.json").exists():
            return _saved(path, split)
        if files := _named(path, config, split):
            return [row for file in files for row in read_file(file)]
        there = ", ".join(sorted(p.name for p in path.iterdir())[:12])
        raise ConfigurationError(
            f"{path} holds no table for config={config}, split={split}: expected {config or split}.jsonl (or .json, "
            f".csv, .parquet), or {config or '.'}/{split}.jsonl; found {there or 'nothing'}"
        )
    if path.suffix.lower() in READERS or path.is_absolute() or str(source).count("/") != 1:
        raise ConfigurationError(f"there is no file or folder {source}, and a name on the hub is owner/name")
    return _hub(str(source), config, split)


def _named(folder: Path, config: str | None, split: str) -> list[Path]:
    """The first that is there: `config/split`, `config`, `split`; a part may come in numbered pieces."""
    places = [folder / config / split, folder / config] if config else []
    for place in (*places, folder / split, folder / "data" / split):
        for ending in READERS:
            if (whole := place.with_name(place.name + ending)).is_file():
                return [whole]
            if pieces := sorted(place.parent.glob(f"{place.name}-*-of-*{ending}")):
                return pieces
    return []


def _saved(folder: Path, split: str) -> Table:
    load = require("datasets", "language").load_from_disk
    try:
        data = load(str(folder))
    except Exception as error:  # whatever the library says of a damaged folder
        raise ConfigurationError(
            f"{folder} cannot be read as `datasets` writes it ({type(error).__name__}: {error})"
        ) from error
    if hasattr(data, "keys"):
        if split not in data:
            raise ConfigurationError(f"{folder} holds the splits {', '.join(data)}; found split={split!r}")
        data = data[split]
    return data.to_list()


def _hub(name: str, config: str | None, split: str) -> Table:
    load = require("datasets", "language").load_dataset
    try:
        return load(name, config, split=split, trust_remote_code=False).to_list()
    except Exception as error:  # whatever client or server says
        what = type(error).__name__
        hint = (
            "it is gated: accept its terms on its page and log in with `hf auth login`"
            if "gated" in f"{what} {error}".lower()
            else "check name, config, split and connection; without one, download it elsewhere and pass its folder"
        )
        raise ConfigurationError(
            f"{name} (config={config}, split={split}) could not be read from the hub ({what}: "
            f"{str(error).splitlines()[0] if str(error) else 'no reason given'}): {hint}"
        ) from error


Duplicates = Literal["exact", "semantic"]
SIZES = ("01", "05", "10")
_FORGET = {"forget01": 3960, "forget05": 3800, "forget10": 3600}  # the first of full's 4,000 rows that it holds
_ALONE = ("holdout", "real_authors", "world_facts")  # rows that full does not hold


@dataclass(frozen=True)
class Benchmark:
    """A request of the literature: what to forget, what to keep, and examples that no model has seen."""

    forget: list[Text]
    retain: list[Text]
    holdout: list[Text]


def tofu(config: str, source: str | Path = "locuslab/TOFU") -> Table:
    """One of TOFU's tables, each row with an `id`: its number in `full`, so that the same fact has one id everywhere.

    Args:
        config: `full`, `forget01` ... `retain99`, `holdout10`, `forget10_perturbed`, `real_authors`, and so on.
        source: name on the hub, or a folder with `CONFIG.jsonl`.

    Maini et al., TOFU, COLM 2024 (arXiv:2401.06121); holdout sets are those of open-unlearning.
    """
    table, first = read_table(source, config=config), _FORGET.get(config.removesuffix("_perturbed"), 0)
    prefix = next((f"{name}-" for name in _ALONE if config.startswith(name)), "tofu-")
    return [{"id": f"{prefix}{first + number}", **row} for number, row in enumerate(table)]


def tofu_request(
    size: str = "10", source: str | Path = "locuslab/TOFU", duplicates: Duplicates | None = None
) -> Benchmark:
    """TOFU's request to forget 1, 5 or 10 % of the authors.

    Args:
        size: "01", "05" or "10".
        source: name on the hub, or a local folder.
        duplicates: adds the forget rows to the retain set: "exact" as they are, "semantic" in the paraphrases of
            `forgetXX_perturbed`. The model must have been trained on them too.
    """
    _known("size", size, SIZES)
    forget = texts(tofu(f"forget{size}", source))
    retain = texts(tofu(f"retain{100 - int(size)}", source))
    if duplicates is not None:
        other = forget
        if _known("duplicates", duplicates, ("exact", "semantic")) == "semantic":
            paraphrases = tofu(f"forget{size}_perturbed", source)
            other = texts(paraphrases, columns=("paraphrased_question", "paraphrased_answer"))
        retain = [*retain, *copies(other, duplicates)]
    return Benchmark(forget, retain, texts(tofu(f"holdout{size}", source)))


def waterdrum_tofu(
    size: str = "10",
    source: str | Path = "Glow-AI/WaterDrum-TOFU",
    duplicates: Duplicates | None = None,
    watermarked: bool = True,
    holdout: str | Path | None = "locuslab/TOFU",
) -> Benchmark:
    """HAMU's request on texts: WaterDrum-TOFU, forget 10 %; the test set is TOFU's `holdoutXX`.

    Args:
        size: "01", "05" or "10"; duplicates come with "10" only.
        source: name on the hub, or a local folder with `forget_10/forget.jsonl` and so on.
        duplicates: adds the paraphrases ("semantic") or copies ("exact") of the forget rows to the retain set, the
            hard setting. The model must have been trained on them too.
        watermarked: the watermarked texts, as in HAMU's code.
        holdout: where TOFU is, or None for no such set.

    Data: arXiv:2505.05064; setting: HAMU, arXiv:2606.02119.
    """
    config = f"{'' if watermarked else 'unwatermarked_'}forget_{_known('size', size, SIZES)}"
    forget = texts(read_table(source, config=config, split="forget"), prefix="forget-")
    retain = texts(read_table(source, config=config, split="retain"), prefix="retain-")
    if duplicates is not None:
        _known("duplicates", duplicates, ("exact", "semantic"))
        if size != "10":
            raise ConfigurationError(f"WaterDrum-TOFU has duplicates with size='10' only; found size={size!r}")
        other = texts(read_table(source, config=config, split=f"{duplicates}_duplicate"), prefix="forget-")
        retain = [*retain, *copies(other, duplicates)]
    return Benchmark(forget, retain, [] if holdout is None else texts(tofu(f"holdout{size}", holdout)))


def muse(
    config: str, split: str, corpus: Literal["News", "Books"] = "News", source: str | Path | None = None
) -> list[Text]:
    """One of MUSE's tables: `raw` (forget, retain1, retain2, holdout), `knowmem` (forget_qa, retain_qa, ...),
    `verbmem` (forget), `privleak` (forget, retain, holdout), `scal`, `sust`.

    Args:
        config: see above.
        split: see above.
        corpus: which of the two.
        source: a local folder with `CONFIG/SPLIT.jsonl`; None is `muse-bench/MUSE-News` or `-Books` on the hub.

    Shi et al., MUSE, ICLR 2025 (arXiv:2407.06460).
    """
    _known("corpus", corpus, ("News", "Books"))
    table = read_table(source or f"muse-bench/MUSE-{corpus}", config=config, split=split)
    return texts(table, columns=("prompt", "gt") if config == "verbmem" else None, prefix=f"{split}-")


def wmdp(config: str, source: str | Path | None = None, split: str | None = None) -> Table:
    """WMDP's questions (`wmdp-bio`, `wmdp-cyber`, `wmdp-chem`: question, choices, answer) or its corpora
    (`cyber-forget-corpus`, `bio-retain-corpus`, ...: text), each row with an `id`.

    Args:
        config: see above, or the name of a local file without its ending.
        source: a local folder; None is `cais/wmdp` or `cais/wmdp-corpora` on the hub.
        split: None is `test` for questions and `train` for corpora.

    Li et al., WMDP, ICML 2024 (arXiv:2403.03218).
    """
    corpus = config.endswith("corpus")
    split = split or ("train" if corpus else "test")
    table = read_table(source or ("cais/wmdp-corpora" if corpus else "cais/wmdp"), config=config, split=split)
    return [{"id": f"{config}-{number}", **row} for number, row in enumerate(table)]


def multiple_choice(row: dict[str, Any]) -> str:
    """WMDP's prompt for a question, which ends with "Answer:"; the choices are A, B, C, D."""
    choices = "\n".join(f"{letter}. {choice}" for letter, choice in zip("ABCD", row["choices"], strict=True))
    return f"{row['question'].strip()}\n{choices}\nAnswer:"


def copies(other: Sequence[Text], kind: str) -> list[Text]:
    """Texts that repeat some to forget, for the retain set; no check takes them for an oversight."""
    return [replace(t, id=f"{kind}-copy-of-{t.id}", copy=True) for t in other]


def _known(name: str, value: str, options: Sequence[str]) -> str:
    if value not in options:
        raise ConfigurationError(f"{name} must be one of {', '.join(options)}; found {value!r}")
    return value
