"""SSH: ``engine`` talks through asyncssh; every other file is pure, bytes in and values out.

``commands``: what a command line is, and what an account may do; ``sftp`` and ``scp``: readers that follow a
transfer on its channel and say what is done before it is done; ``screen``: a guess at what was typed in a shell.
"""
