"""The one place that knows BentoML, circus and uvicorn from the inside: the launcher, and what is patched.

Everything that they do not promise to keep is named in `private_names` and looked for by a test, which says
what a new version of them has broken. Code elsewhere uses only what BentoML documents.
"""
