"""``tidegate demo``: a whole world on loopback, in one process tree.

``certificates`` and ``postgres`` are the pieces of a world, ``people`` and ``world`` say what is in it and write
it down, ``supervisor`` keeps it running, ``instructions`` says what to copy and paste, ``command`` is the command.
Nothing here may be imported by the gateway itself: the demo starts ``tidegate serve`` like anyone would.
"""
