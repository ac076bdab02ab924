"""Host keys that SSH targets showed the first time: one file in the key folder, shared by a machine's processes.

Behind ``core.ports.LearntHosts``; read and written rarely, since it is asked only where a resource says
``trust_first_use``. Other machines learn for themselves.
"""

import json

from proxy.adapters.keys import KeyFolder

FILE = "ssh_learnt_hosts.json"


class FileLearntHosts:
    """``core.ports.LearntHosts`` over a file. ``Unavailable`` (``keys_unsafe``) when it cannot be used."""

    def __init__(self, folder: KeyFolder) -> None:
        self._folder = folder

    def known(self, resource: str) -> str:
        return self._all().get(resource, "")

    def learn(self, resource: str, key: str) -> str:
        with self._folder.locked():
            known = self._all()
            if resource not in known:
                known[resource] = key
                self._folder.write(FILE, json.dumps(known, indent=1).encode())
        return known[resource]

    def _all(self) -> dict[str, str]:
        content = self._folder.read(FILE)
        return dict(json.loads(content)) if content else {}
