"""Any service behind TCP, by HTTP's CONNECT: ``connect`` (what is asked and answered) and ``inspector`` are pure,
``engine`` is not."""
