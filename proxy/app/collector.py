"""Python's collector of cycles, so that it does not keep a whole process waiting. Called by each process once all
it needs to run is there.

A full collection looks at every object there is, and nothing else runs meanwhile. Most objects are what has been
imported and set up, which stays: the collector is told not to look at that again. What is left are the sessions'.
"""

import gc

YOUNG = 10_000
"""Objects made, less those that are gone again, between two looks at the youngest."""


def settle() -> None:
    """What is there now is there for good."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, 10, 10)
