"""The composition root: configuration -> objects -> processes. The only package that may import everything.

``serving`` supervises: one process for the API (on the relay's loop it cost sessions a tenfold latency) and one for
each worker, all started afresh and all gone when it is gone. They meet in the store, its feed, and a doorbell.
``foundation`` is what every process stands on; ``worker`` and ``api`` are the two kinds; ``changes`` is what an API
does with another configuration or key.
"""

from proxy.app.serving import serve

__all__ = ["serve"]
