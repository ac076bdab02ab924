"""What an operator writes: one TOML file, its schema, loading and checking. Imports nothing of ``proxy``.

    problems       what is wrong, as values, all at once      values        sizes, addresses, networks, names
    durations      10m, 1h30m; needs no pydantic              suggestions   what was meant where a word is wrong
    settings       how a setting is declared, with its reload references    env: and file: secrets, and Secret
    runtime        [gateway] [store] [recordings] [tokens]    listeners     [[listeners]] and server TLS
                   [limits] [api]                             resources     [[resources]]: what one is, by protocol
    targets        what all resources have                    postgres, ssh, tcp   what each protocol's have
    public_keys    OpenSSH's public keys, in one line         environment   variables that may go to a host
    people         [[users]] [[groups]]                       policies      [[policies]]
    schema         Config, digest(), schema()                 loading       load(path) -> Config or ConfigProblems
    parts          the main file and what it includes         contents      whether a secret or certificate is new
    lines          place -> line of the text                  checks        names and rules that must fit together
    surroundings   secrets and certificates that must exist   difference    what a reload changes, and when
    manual         every setting as rows for people           passwords     Argon2id hashes
    examples/      files that a test loads

Import from the modules: ``from gateway_config.loading import load``. This package itself imports nothing, so that a
client command which only needs one of them stays fast.
"""
