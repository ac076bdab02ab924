"""The store's schema, step by step: ``env`` is Alembic's entry, ``versions/`` the steps. Run by ``store.migrate``.

A step that was released is never changed; it imports nothing of the program, which goes on changing. One that older
programs may overlook, since all it does is add (tables, indexes, columns with a server default), says so by
``additive = True``: see ``store.migrate``.
"""
