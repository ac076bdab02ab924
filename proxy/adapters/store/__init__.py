"""The store, in SQL: SQLite by default, PostgreSQL by URL; the ``core.ports.Store`` of the program.

    opening     ``open_store(url, …)``: the one call the composition root makes
    store       units in, groups out: one writer, one COMMIT for all that wait
    database    what the store asks of a database …
    sqlite      … in a file, shared by the processes of a machine
    postgresql  … in a server, shared by nodes
    reader      ``core.ports.Reader``: every query
    writer      ``core.ports.Writer``: every change
    heads       who holds them gives out the numbers of trail and feed
    rows        rows to core types and back
    tables      the tables
    migrate     brings the schema up to date at start, by the steps in ``migrations/``

Must not know: protocols, sessions, HTTP. What follows the feed is ``adapters.feed``.
"""
