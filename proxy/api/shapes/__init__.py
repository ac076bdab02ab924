"""The API's JSON: what goes in and out, described for OpenAPI. Built from the core's types by their attributes.

Instants are ISO 8601 in UTC, durations are seconds. Nothing here holds a secret but what ``LoggedIn`` and
``TokenMade`` exist to hand over.
"""
