"""The timed, chained records of one session: how they are written, sealed, read and shown again.

``codec``: records as bytes; ``frames``: how they lie in files. Writing: ``recorder`` opens one ``journal`` a
session, which copies records into mapped ``window`` files; the ``sealer`` turns full ones into chunks of the
``container``, the ``syncing`` thread puts both on disk, ``orphans`` seals after a crash what no living process
holds (``locks``). Reading: ``reader`` for live and sealed recordings alike, ``statements`` joins the records,
``replay`` shows them. ``places`` names the files. Knows no protocol and no store.
"""
