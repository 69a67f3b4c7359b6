"""The hash chain over what was recorded: nothing in it is changed, lost or added unnoticed.

Its entries are rows of `audit`. Each names rows that have ended by their digests, and its head
hashes the head before it. The entry is written in the transaction that ends the rows.
"""

from svcctl.store.chain.append import extend, seal

__all__ = ["extend", "seal"]
