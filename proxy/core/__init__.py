"""The vocabulary of Tidegate: frozen types, state tables, errors and ports.

Standard library only; no I/O, no clock, no randomness. Everything above speaks these words and nothing below
exists. Instants are ``float`` seconds since the epoch, UTC; durations are ``float`` seconds; both become
ISO 8601 only at the edges (API, CLI, trail export).
"""
