"""How much a stream reads, gathers and keeps at a time. Numbers alone; read by ``transport``."""

SMALL_READ = 448
"""Bytes asked for where little comes: so few are taken from Python's own pools, which costs less than memory
that is allocated, cut to size and freed."""
READ_SIZE = 16 * 1024
"""Bytes asked for after a small read came back full; a TLS record holds no more."""
BULK_READ_SIZE = 256 * 1024
"""Bytes asked for after that came back full too, without TLS."""
CALM = 64
"""Small chunks since a read came back full, after which reads are small again."""
RECORDS_A_TURN = 16
"""TLS records taken from one client in one turn of the loop, so that a flood does not starve the others."""
RECORDS_GATHERED = 8
"""Full TLS records that are handed over as one chunk."""
READS_A_TURN = 32
"""Reads that found their bytes ready, in pull mode, until the others get their turn: a peer that sends faster than
we read would otherwise stop the loop, and with it every deadline."""
DRAINED_MOST = 64 * 1024 * 1024
"""Bytes read and forgotten of a peer that goes on sending after the end."""
HIGH_WATER = 64 * 1024
"""Unsent bytes from which the other side is no longer read."""
