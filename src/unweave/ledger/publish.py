"""What the truth says of every certificate, in files of its own: written again whenever it says more."""

from __future__ import annotations

from unweave.ledger import files
from unweave.ledger import model_card as card
from unweave.ledger.book import Standing
from unweave.ledger.certificate_text import text
from unweave.ledger.ledger import Ledger
from unweave.ledger.line import written
from unweave.store import atomically, tidy


def publish(ledger: Ledger) -> None:
    """Writes the certificates that are on record and not in their files, and the cards of the models that they are in.

    While it does, nobody adds to the truth: of two that publish, neither writes what is behind.
    """
    with ledger.still() as (_, book):
        tidy(ledger.folder / "certificates")
        certified = book.certified
        stale = [each for each in book.answered if not _told(ledger, each)]
        first = next((number for number, each in enumerate(certified) if each in stale), len(certified))
        for number in range(first, len(certified)):
            place = files.folder_of(ledger.folder, certified[number].decided.body["model"])
            tidy(place)
            if (place.parent / "recipe.yaml").is_file():  # a run directory may have moved since
                card.write(place, certified[: number + 1])
        for each in stale:
            path = ledger.certificate_file(each.id)
            atomically(path.with_suffix(".md"), written(text(each.decided, each.attestations)))
            atomically(path, each.decided.pretty)


def _carded(ledger: Ledger, each: Standing) -> bool:
    """Its model has a card, if it lies where it was and is to have one."""
    if not each.issued:
        return True
    place = files.folder_of(ledger.folder, each.decided.body["model"])
    return (place / card.FILE).exists() or not (place.parent / "recipe.yaml").is_file()


def _told(ledger: Ledger, each: Standing) -> bool:
    """The files are there, and say all; what was edited is for `verify` to find."""
    path = ledger.certificate_file(each.id)
    words = path.with_suffix(".md")
    if not (path.exists() and words.exists() and _carded(ledger, each)):
        return False
    earlier = [written(text(each.decided, each.attestations[:count])) for count in range(len(each.attestations))]
    return not earlier or words.read_bytes() not in earlier
