"""The commands, grouped by who types them. Each function is one command; its docstring is its help.

``main`` imports a module here only when one of its words is typed, so what is slow to import is imported inside.
"""
