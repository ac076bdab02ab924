"""Tidegate: production access that ends when its grant ends.

A request becomes a decision, a decision a grant, a grant a short-lived token, a token a live and recorded
session. A package imports only packages of a lower rank (held by ``tests/test_architecture.py``):

====  =====================================================================================
rank  package
====  =====================================================================================
0     ``core``: the vocabulary as frozen types, state tables, errors, ports. No I/O, no clock
1     ``policy``: rules -> decision, with the whole trace. Pure
2     ``access``: requests, approvals, grants, tokens, the gate. Logic over ports; owns no task
2     ``audit``: the trail: chain, checkpoints, verification
2     ``recording``: container format, recorder, replay
3     ``sessions``: the kernel, where asyncio lives: transport, session, relay, registry, watch
4     ``protocols``: one folder each; pure files plus ``engine.py``
4     ``adapters``: one technology behind a port each: SQL store, feed, keys, metrics
4     ``api``, ``web``: HTTP for people and machines. Never import ``sessions`` or ``protocols``
5     ``app``: the composition root, the only module that may import everything
6     ``cli``: the ``tidegate`` command
====  =====================================================================================

Three flows:

* a byte: ``transport`` -> ``relay`` -> ``inspector.feed`` -> ``transport``; whole chunks, no queue. Of a chunk that
  holds much work one slice is done in a turn of the loop, and its side is not read meanwhile (``sessions.rests``);
* a revocation: ``api`` -> ``access`` -> one commit (grant's end, trail event, feed row) -> ``watch`` on every
  node -> ``registry`` -> ``session.end(reason)`` -> farewell -> close -> ``abandon`` -> verified -> receipt;
* a statement: ``Observe(StatementStarted)`` is in the recording before the bytes leave; the answer's
  ``StatementFinished`` joins it.

State lives in the store (grants, requests, sessions, trail, feed), in the recordings' folder, in the keys' folder
(with the newest signed head of the trail, which a store put back cannot take along), and, for the life of a
connection, in ``sessions.registry``. Nothing else remembers.

Two versions may share a store: what is stored in a new word is read as ``core.words`` says, and written only when
all workers know it (``core.vocabulary``).
"""
