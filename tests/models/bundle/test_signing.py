"""Signed bundles: what a trusted key has signed is opened, and nothing else, by whatever opens bundles."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pinnace.models.bundle import signing
from pinnace.models.bundle.bundle import Bundle
from pinnace.models.errors import CheckFailed, MissingDependency
from pinnace.models.install import install_line
from pinnace.serving.errors import ReloadFailed
from pinnace.serving.inference.layout import Layout
from pinnace.serving.inference.registry import Registry
from pinnace.serving.settings import load_settings
from support.command_line import CommandLine
from support.errors import error_of, refusal
from support.signing_keys import Keys
from support.tiny_bundle import build_bundle, encode


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return Keys(tmp_path_factory.mktemp("keys"))


@pytest.fixture
def signed(tmp_path: Path, keys: Keys, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A signed bundle, whose key is the one that is trusted."""
    folder = build_bundle(tmp_path / "tiny.bundle")
    signing.sign(folder, "tiny", keys.own)
    monkeypatch.setenv("PINNACE_TRUSTED_KEY", str(keys.public))
    return folder


def flip_a_byte(folder: Path, keys: Keys) -> str:
    path = folder / "labels.txt"
    path.write_bytes(path.read_bytes().replace(b"reddish", b"seddish"))
    return f"{path} has changed since it was signed"


def change_the_manifest(folder: Path, keys: Keys) -> str:
    path = folder / "manifest.json"
    path.write_bytes(path.read_bytes() + b"\n")
    return f"{path} has changed since it was signed"


def change_the_signature(folder: Path, keys: Keys) -> str:
    path = folder / "signature.json"
    envelope = json.loads(path.read_text())
    payload = base64.b64decode(envelope["payload"]).replace(b"labels.txt", b"babels.txt")
    path.write_text(json.dumps({**envelope, "payload": base64.b64encode(payload).decode()}))
    return f"{path} has changed since it was signed"


def damage_the_signature(folder: Path, keys: Keys) -> str:
    (folder / "signature.json").write_text("[]")
    return f"{folder / 'signature.json'} is damaged"


def sign_with_another_key(folder: Path, keys: Keys) -> str:
    signing.sign(folder, "tiny", keys.other)
    return f"{folder} is not signed by a trusted key"


def add_a_file(folder: Path, keys: Keys) -> str:
    (folder / "golden" / "profile.json").write_text("{}")
    return f"{folder / 'golden' / 'profile.json'} was added since the bundle was signed"


def add_a_link_to_a_folder(folder: Path, keys: Keys) -> str:
    (folder / "more").symlink_to(folder.parent)
    return f"{folder / 'more'} was added since the bundle was signed"


def remove_a_file(folder: Path, keys: Keys) -> str:
    (folder / "labels.txt").unlink()
    return f"{folder / 'labels.txt'} is missing, and was there when the bundle was signed"


def copy_the_signature_of_another_bundle(folder: Path, keys: Keys) -> str:
    other = build_bundle(folder.with_name("other.bundle"), name="other")
    signing.sign(other, "other", keys.own)
    shutil.copy(other / "signature.json", folder)
    return f"the signature in {folder} is that of another bundle"


def remove_the_signature(folder: Path, keys: Keys) -> str:
    (folder / "signature.json").unlink()
    return f"{folder} is not signed, and PINNACE_TRUSTED_KEY is set"


TAMPER = (
    *(flip_a_byte, change_the_manifest, change_the_signature, damage_the_signature, sign_with_another_key),
    *(add_a_file, add_a_link_to_a_folder, remove_a_file, remove_the_signature),
    copy_the_signature_of_another_bundle,
)


@pytest.mark.parametrize("tamper", TAMPER, ids=lambda one: str(one.__name__))
def test_whatever_opens_bundles_refuses(
    signed: Path, keys: Keys, pinnace: CommandLine, tamper: Callable[[Path, Keys], str]
) -> None:
    image = signed.parent / "red.png"
    image.write_bytes(encode((250, 10, 20)))
    commands = (
        ["classify", image, "--bundle", signed],
        ["verify", signed],
        ["bench", signed, "--duration", "1"],
        ["serve", signed],
        ["package", signed, "-o", signed.parent / "bento"],
        ["inspect", signed],
    )
    assert pinnace(*commands[0]).status == 0
    sentence = tamper(signed, keys)
    for command in commands:
        outcome = pinnace(*command)
        assert (outcome.status, outcome.err.splitlines()[0]) == (1, f"error: {sentence}"), command


@pytest.mark.parametrize("tamper", [flip_a_byte, add_a_file], ids=lambda one: str(one.__name__))
def test_a_reload_refuses_and_the_old_version_answers_on(
    signed: Path, keys: Keys, tamper: Callable[[Path, Keys], str]
) -> None:
    settings = load_settings(bundle=(signed,), runtime="onnxruntime")
    registry = Registry.open(settings, Layout(1, 1, 1, 1))
    try:
        version = registry.model().version
        fresh = build_bundle(signed.parent / "fresh.bundle", created="2026-03-03T00:00:00Z")
        signing.sign(fresh, "tiny", keys.own)
        sentence = tamper(fresh, keys).replace("fresh.bundle", "tiny.bundle")
        signed.rename(signed.with_name("old.bundle"))
        fresh.rename(signed)
        error = error_of(ReloadFailed, asyncio.run, registry.reload("tiny"))
        assert error.message.endswith(f"version {version} answers on: {sentence}")
        assert registry.model().version == version
        signing.sign(signed, "tiny", keys.own)
        if tamper is add_a_file:
            assert asyncio.run(registry.reload("tiny"))
            assert registry.model().version == Bundle.open(signed).version != version
    finally:
        registry.close()


def test_the_setting_may_stand_in_the_file_of_the_server(
    signed: Path, keys: Keys, pinnace: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PINNACE_TRUSTED_KEY", "")
    shutil.copy(keys.other_public, signed.parent / "key.pub")
    config = signed.parent / "pinnace.toml"
    config.write_text('bundle = "tiny.bundle"\ntrusted_key = "key.pub"\nvariant = "none"\n')
    outcome = pinnace("serve", "--config", config)
    assert (outcome.status, outcome.err.splitlines()[0]) == (
        1,
        f"error: {signed} is not signed by a trusted key",
    )


@pytest.mark.parametrize("form", ["pem", "ssh", "both"])
def test_the_forms_of_keys(signed: Path, keys: Keys, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    private = keys.own if form == "pem" else keys.ssh
    trusted = signed.parent / "trusted"
    ssh = keys.ssh.with_suffix(".pub").read_text()
    texts = {"pem": keys.public.read_text(), "ssh": ssh, "both": keys.other_public.read_text() + ssh}
    trusted.write_text(texts[form])
    monkeypatch.setenv("PINNACE_TRUSTED_KEY", str(trusted))
    signing.sign(signed, "tiny", private)
    assert Bundle.open(signed).name == "tiny"
    signing.sign(signed, "tiny", keys.own if private is keys.ssh else keys.ssh)
    assert refusal(CheckFailed, Bundle.open, signed).startswith(f"{signed} is not signed by a trusted key")


def test_openssl_finds_the_signature_good(signed: Path, keys: Keys) -> None:
    envelope = json.loads((signed / "signature.json").read_text())
    payload = base64.b64decode(envelope["payload"])
    kind = envelope["payloadType"]
    message, signature = signed.parent / "message", signed.parent / "signature"
    message.write_bytes(f"DSSEv1 {len(kind)} {kind} {len(payload)} ".encode() + payload)
    signature.write_bytes(base64.b64decode(envelope["signatures"][0]["sig"]))
    verify = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", keys.public, "-rawin"]
    subprocess.run([*verify, "-in", message, "-sigfile", signature], check=True, capture_output=True)
    names = [subject["name"] for subject in json.loads(payload)["subject"]]
    assert names == ["golden/golden.npz", "labels.txt", "manifest.json", "model.onnx"]


def test_what_is_no_key_is_said(
    signed: Path, keys: Keys, pinnace: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def first_line(*arguments: object) -> str:
        outcome = pinnace(*arguments)
        assert outcome.status == 2
        return outcome.err.splitlines()[0]

    secret = signed.parent / "secret.pem"
    protect = ["openssl", "pkey", "-in", keys.own, "-aes256", "-passout", "pass:x", "-out", secret]
    subprocess.run(protect, check=True, capture_output=True)
    sign = ("sign", signed, "--key")
    assert first_line(*sign, keys.rsa) == f"error: the key {keys.rsa} is not an Ed25519 key"
    assert first_line(*sign, keys.public) == f"error: {keys.public} holds no private key"
    assert first_line(*sign, secret) == f"error: the key {secret} has a passphrase"
    assert (
        first_line(*sign, "/nowhere") == "error: the key /nowhere cannot be read: No such file or directory"
    )
    monkeypatch.setenv("PINNACE_TRUSTED_KEY", str(keys.own))
    assert first_line("inspect", signed).endswith("is not the public half of an Ed25519 key")
    monkeypatch.setenv("PINNACE_TRUSTED_KEY", "/nowhere")
    assert first_line("inspect", signed).startswith("error: the key /nowhere cannot be read")


def test_the_verb_signs_what_is_good(signed: Path, keys: Keys, pinnace: CommandLine) -> None:
    outcome = pinnace("sign", signed, "--key", keys.own, "--json")
    assert (outcome.status, outcome.json["files"]) == (0, 4)
    der = subprocess.run(
        ["openssl", "pkey", "-pubin", "-in", keys.public, "-outform", "DER"], check=True, capture_output=True
    ).stdout
    assert outcome.json["key"] == hashlib.sha256(der).hexdigest()
    flip_a_byte(signed, keys)
    assert pinnace("sign", signed, "--key", keys.own).status == 1


def test_without_the_package_it_is_said_what_to_install(
    signed: Path, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cryptography", None)
    for act in (lambda: Bundle.open(signed), lambda: signing.sign(signed, "tiny", keys.own)):
        assert install_line("sign") in refusal(MissingDependency, act)
