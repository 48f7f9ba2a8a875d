"""Signed bundles: `signature.json` names every file of the folder with its hash, and an Ed25519 key signs it.

The file is a DSSE envelope (https://github.com/secure-systems-lab/dsse) around an in-toto statement
(https://in-toto.io/Statement/v1), so that other tools can read and check it as well.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pinnace.models.bundle.manifest import FILE_NAME as MANIFEST
from pinnace.models.errors import BundleError, CheckFailed, MissingDependency, UsageError
from pinnace.models.files import sha256, write_atomic
from pinnace.models.install import install_line

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

FILE_NAME = "signature.json"
TRUSTED_KEY = "PINNACE_TRUSTED_KEY"

_PAYLOAD_TYPE = "application/vnd.in-toto+json"
_STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
_PREDICATE_TYPE = "https://github.com/pinnace/pinnace/blob/main/docs/bundle.md#signed-bundles"
_NEW_KEY = "openssl genpkey -algorithm ed25519 -out key.pem"


@dataclass(frozen=True)
class Signed:
    """A signature that was written.

    Attributes:
        file: its path.
        files: how many files it covers.
        key: the id of the key: the SHA-256 of the public key's DER form.
    """

    file: Path
    files: int
    key: str


def sign(folder: Path, model: str, key: Path) -> Signed:
    """Write the signature of all files that stand in a bundle's folder now, in the place of an older one.

    Args:
        folder: the bundle.
        model: its name, for messages.
        key: a file with an Ed25519 private key, in PEM or in OpenSSH's form, without a passphrase.

    Raises:
        UsageError: the key cannot be read or is another kind of key, or the file cannot be written.
        BundleError: something in the folder is not a file.
        MissingDependency: `cryptography` is not installed.
    """
    private = _private_key(key)
    names = _files(folder)
    hashes = {name: _hash(folder, name) for name in names}
    statement = {
        "_type": _STATEMENT_TYPE,
        "subject": [{"name": name, "digest": {"sha256": digest}} for name, digest in hashes.items()],
        "predicateType": _PREDICATE_TYPE,
        "predicate": {"model": model},
    }
    payload = json.dumps(statement, indent=1).encode()
    key_id = _key_id(private.public_key())
    envelope = {
        "payload": base64.b64encode(payload).decode(),
        "payloadType": _PAYLOAD_TYPE,
        "signatures": [
            {"keyid": key_id, "sig": base64.b64encode(private.sign(_pre_authentication(payload))).decode()}
        ],
    }
    path = folder / FILE_NAME
    try:
        write_atomic(path, json.dumps(envelope, indent=2).encode() + b"\n")
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from None
    return Signed(path, len(hashes), key_id)


def with_all_signed(folder: Path, files: Sequence[str]) -> list[str]:
    """The files that another machine needs of a bundle: of a signed one all, or it would be refused there.

    Args:
        folder: the bundle.
        files: what would do without a signature.
    """
    return [*_files(folder), FILE_NAME] if (folder / FILE_NAME).is_file() else list(files)


def check_if_required(folder: Path, manifest: bytes) -> None:
    """Check a bundle's signature where `$PINNACE_TRUSTED_KEY` is set; see `check`."""
    trusted = os.environ.get(TRUSTED_KEY)
    if trusted:
        check(folder, manifest, Path(trusted))


def check(folder: Path, manifest: bytes, trusted: Path) -> None:
    """Check that a trusted key has signed exactly the files that stand in a bundle's folder; all are read.

    Args:
        folder: the bundle.
        manifest: what was read of its manifest: these bytes must be the signed ones.
        trusted: a file with one or several Ed25519 public keys, in PEM or one a line as OpenSSH writes them.

    Raises:
        CheckFailed: there is no signature, it is another key's or another bundle's, or a file has changed,
            was added or is missing.
        UsageError: `trusted` has no such key.
        MissingDependency: `cryptography` is not installed.
    """
    signed, model = _statement(folder, _public_keys(trusted))
    if signed.get(MANIFEST) != hashlib.sha256(manifest).hexdigest():
        own = _model(manifest)
        if own != model:
            raise _refused(f"the signature in {folder} is that of another bundle", expected=own, got=model)
        raise _refused(f"{folder / MANIFEST} has changed since it was signed")
    there = set(_files(folder))
    for name in sorted(there - signed.keys()):
        raise _refused(f"{folder / name} was added since the bundle was signed")
    for name in sorted(signed.keys() - there):
        raise _refused(f"{folder / name} is missing, and was there when the bundle was signed")
    for name, digest in signed.items():
        if name != MANIFEST and _hash(folder, name) != digest:
            raise _refused(f"{folder / name} has changed since it was signed")


def _statement(folder: Path, keys: list[Ed25519PublicKey]) -> tuple[dict[str, str], str]:
    """The signed hashes by file, and the signed name of the model; nothing is parsed that is not signed."""
    path = folder / FILE_NAME
    try:
        envelope = json.loads(path.read_bytes())
        payload = base64.b64decode(envelope["payload"], validate=True)
        signatures = [base64.b64decode(one["sig"], validate=True) for one in envelope["signatures"]]
        key_ids = [str(one.get("keyid")) for one in envelope["signatures"]]
    except OSError:
        raise CheckFailed(
            f"{folder} is not signed, and {TRUSTED_KEY} is set", hint=f"pinnace sign {folder} --key KEY"
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError, binascii.Error, RecursionError):
        raise _refused(f"{path} is damaged") from None
    if not any(_verifies(key, one, payload) for key in keys for one in signatures):
        trusted = [_key_id(key) for key in keys]
        if set(trusted).intersection(key_ids):
            raise _refused(f"{path} has changed since it was signed")
        raise _refused(
            f"{folder} is not signed by a trusted key",
            expected=" or ".join(f"key {one[:16]}" for one in trusted),
            got=", ".join(f"key {one[:16]}" for one in key_ids),
        )
    statement = json.loads(payload)
    if statement.get("predicateType") != _PREDICATE_TYPE:
        raise _refused(f"{path} is the signature of something else than a bundle")
    hashes = {str(one["name"]): str(one["digest"]["sha256"]) for one in statement["subject"]}
    return hashes, str(statement["predicate"]["model"])


def _pre_authentication(payload: bytes) -> bytes:
    """The bytes that a DSSE signature is of."""
    kind = _PAYLOAD_TYPE.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def _verifies(key: Ed25519PublicKey, signature: bytes, payload: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature

    try:
        key.verify(signature, _pre_authentication(payload))
    except InvalidSignature:
        return False
    return True


def _refused(message: str, *, expected: str | None = None, got: str | None = None) -> CheckFailed:
    return CheckFailed(
        message,
        expected=expected,
        got=got,
        hint="copy the bundle again, or look at it and sign it anew with: pinnace sign BUNDLE --key KEY",
    )


def _model(manifest: bytes) -> str:
    """The name in a manifest that has not been parsed yet, for a message."""
    try:
        return str(json.loads(manifest)["name"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return "unknown"


def _files(folder: Path) -> list[str]:
    """What stands in a folder and below, except the signature: paths with `/`, sorted.

    A link to a folder is named as a file is: what it holds is not looked at.
    """
    found = []
    for where, folders, files in os.walk(folder):
        links = [name for name in folders if (Path(where) / name).is_symlink()]
        found += [(Path(where) / name).relative_to(folder).as_posix() for name in (*files, *links)]
    return sorted(set(found) - {FILE_NAME})


def _hash(folder: Path, name: str) -> str:
    path = folder / name
    if not path.is_file():  # a pipe would be waited for
        raise BundleError(f"{path} is not a file, so it cannot be signed or checked", hint="remove it")
    try:
        return sha256(path)
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {error.strerror}") from None


def _require_cryptography() -> None:
    try:
        import cryptography  # noqa: F401
    except ImportError:
        raise MissingDependency(
            "signatures need cryptography, which is not installed", hint=install_line("sign")
        ) from None


def _read_key(path: Path) -> bytes:
    _require_cryptography()
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"the key {path} cannot be read: {error.strerror}") from None


def _private_key(path: Path) -> Ed25519PrivateKey:
    data = _read_key(path)
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_ssh_private_key

    load: Any = load_ssh_private_key if b"BEGIN OPENSSH" in data else load_pem_private_key
    try:
        key = load(data, None)
    except TypeError:
        raise UsageError(
            f"the key {path} has a passphrase", hint=f"openssl pkey -in {path} gives it without"
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        raise UsageError(f"{path} holds no private key", hint=f"make one with: {_NEW_KEY}") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise UsageError(f"the key {path} is not an Ed25519 key", hint=f"make one with: {_NEW_KEY}")
    return key


def _public_keys(path: Path) -> list[Ed25519PublicKey]:
    """The public keys in a file, of which there is at least one."""
    data = _read_key(path)
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key, load_ssh_public_key

    marker = b"-----BEGIN PUBLIC KEY-----"
    lines = [line for line in data.splitlines() if line.startswith(b"ssh-")]
    loaded: list[Any] = []
    try:
        loaded += [load_pem_public_key(marker + part) for part in data.split(marker)[1:]]
        loaded += [load_ssh_public_key(line) for line in lines]
    except (ValueError, UnsupportedAlgorithm):
        raise UsageError(f"the key {path} ({TRUSTED_KEY}) is damaged") from None
    keys = [key for key in loaded if isinstance(key, Ed25519PublicKey)]
    if not keys or len(keys) < len(loaded) or b"PRIVATE KEY" in data:
        raise UsageError(
            f"{path} ({TRUSTED_KEY}) is not the public half of an Ed25519 key",
            hint="write it with: openssl pkey -in key.pem -pubout -out key.pub",
        )
    return keys


def _key_id(key: Ed25519PublicKey) -> str:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()
