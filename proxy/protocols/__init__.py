"""One folder a protocol, and the table of them. Adding one means its folder and one line in ``table``."""
