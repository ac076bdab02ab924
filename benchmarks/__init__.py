"""What we claim about speed, each runnable with one command: see README.md."""
