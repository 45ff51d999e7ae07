"""Deletion requests, from the day they come to a certificate or a rejection, in a record that shows every change.

`unweave.ledger.batch.run` carries the open ones out; it alone needs torch.
"""

from unweave.ledger.ledger import Ledger
from unweave.ledger.selector import Deletion, Selector, by_class, by_ids, by_rows
from unweave.ledger.verify import Verification, certified, verify

__all__ = ["Deletion", "Ledger", "Selector", "Verification", "by_class", "by_ids", "by_rows", "certified", "verify"]
