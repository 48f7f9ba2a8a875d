"""Keys that sign bundles."""

from __future__ import annotations

import subprocess
from pathlib import Path


class Keys:
    """Keys as openssl and ssh-keygen make them."""

    def __init__(self, folder: Path) -> None:
        self.own, self.other, self.rsa = (folder / f"{name}.pem" for name in ("own", "other", "rsa"))
        for path in (self.own, self.other):
            self._openssl("genpkey", "-algorithm", "ed25519", "-out", path)
        self._openssl("genpkey", "-algorithm", "rsa", "-out", self.rsa)
        self.public, self.other_public = (path.with_suffix(".pub") for path in (self.own, self.other))
        for private, public in ((self.own, self.public), (self.other, self.other_public)):
            self._openssl("pkey", "-in", private, "-pubout", "-out", public)
        self.ssh = folder / "ssh"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.ssh], check=True)

    @staticmethod
    def _openssl(*arguments: object) -> None:
        subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)
