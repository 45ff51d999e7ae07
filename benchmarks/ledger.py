"""What a ledger costs as it grows: CPU seconds to record a request, to list them all, and to verify everything.

python -m benchmarks.ledger
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from unweave.ledger import Deletion, Ledger, Selector, verify
from unweave.ledger.chain import Chain, append, following, locked

SIZES = (100, 1_000, 10_000)


def main() -> None:
    """One row for each size."""
    print("| requests | size of the truth | record one more | list | verify |", "|---:|---:|---:|---:|---:|", sep="\n")
    for size in SIZES:
        with tempfile.TemporaryDirectory() as folder:
            print(row(Ledger(Path(folder)), size), flush=True)


def row(ledger: Ledger, size: int) -> str:
    """What it costs with so many requests."""
    ledger.add(Deletion("first", Selector(classes=(1,)), basis="GDPR 17"))
    fill(ledger, size - 1)
    ledger.read()
    more = seconds(lambda: ledger.add(Deletion("last", Selector(classes=(2,)))))
    listed = seconds(ledger.requests)
    checked = seconds(lambda: verify(ledger))
    return f"| {size:,} | {ledger.truth.stat().st_size / 1e6:.2f} MB | {more:.3f} | {listed:.3f} | {checked:.3f} |"


def fill(ledger: Ledger, count: int) -> None:
    """Appends requests as `add` does, but reads the chain only once."""
    chain, _ = ledger.read()
    body = chain.entries[-1].body
    with locked(ledger.truth, write=True) as handle:
        for number in range(count):
            entry = following(
                chain, "2026-01-01T00:00:00+00:00", "request", {**body, "id": f"R-{number}"}, ledger.key.seal
            )
            append(handle, chain, entry)
            chain = Chain((entry,), (), chain.size + len(entry.line) + 1, 0)


def seconds(act: Callable[[], object]) -> float:
    """CPU time of one call; the disk is not waited for."""
    begin = time.process_time()
    act()
    return time.process_time() - begin


if __name__ == "__main__":
    main()
