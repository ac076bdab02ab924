"""Python's collector of cycles, so that it neither keeps a whole process waiting nor leaves for ever what is gone.
Called by each process once all it needs to run is there.

A full collection looks at every object there is, and nothing else runs meanwhile. Most objects are what has been
imported and set up, which stays: the collector is told not to look at that again. Sessions take themselves apart
at their end (``tests/contracts/test_memory``), so what is left to collect are cycles of others: asyncssh's, those
of an exception and its traceback. They are few, but each may hold megabytes, so they must not wait until they are
many.
"""

import gc

YOUNG = 5_000
"""Objects made, less those that are gone again, between two looks at the youngest."""
OLDER = 5
"""Looks at one generation between two at the next: all are looked at after 125 000 objects at the earliest."""


def settle() -> None:
    """Take what is there now as there for good."""
    gc.collect()
    gc.freeze()
    # All are looked at once a quarter has been added to those that the last such look found: let that find none, or
    # the quarter would be one of all that has just been put aside.
    gc.collect()
    gc.set_threshold(YOUNG, OLDER, OLDER)
