"""A bundle on disk: a folder with a manifest, variants, labels and golden data."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

from pinnace.models.bundle import golden, manifest, signing
from pinnace.models.bundle.external_data import locations
from pinnace.models.bundle.golden import Arrays
from pinnace.models.bundle.manifest import Manifest, Variant
from pinnace.models.bundle.outputs import Outputs, of_an_older_bundle
from pinnace.models.errors import BundleError, CheckFailed, UsageError
from pinnace.models.files import read_regular, sha256
from pinnace.models.image.preprocess import Preprocess
from pinnace.models.proposal import proposal

_VERSION_DIGITS = 12

# Of labels or golden data, which are read whole.
_MOST_BYTES = 4 << 30


@dataclass(frozen=True)
class Bundle:
    """An opened bundle.

    Attributes:
        folder: where it stands.
        manifest: what it says of itself.
        version: the first twelve digits of the SHA-256 of `manifest.json`, which has the hash of every other
            file: another version is another bundle.
    """

    folder: Path
    manifest: Manifest
    version: str = ""

    @classmethod
    def open(cls, folder: Path | str, *, check_signature: bool = True) -> Bundle:
        """Read a bundle's manifest; no other file is touched, unless signatures are asked for.

        Args:
            folder: where it stands; `pinnace.models.bundle.anywhere.open_bundle_at` takes URLs as well.
            check_signature: where `$PINNACE_TRUSTED_KEY` is set, read every file and take only what that key
                has signed; False for what this process has written itself.

        Raises:
            BundleError: it is no bundle, has no variants, or names files outside its folder, or files that
                have no hash or two.
            CheckFailed: it is not as the trusted key has signed it.
            UsageError: the trusted key cannot be read.
            MissingDependency: signatures cannot be checked here.
        """
        path = Path(folder)
        data = manifest.read_bytes(path)
        if check_signature:
            signing.check_if_required(path, data)
        version = hashlib.sha256(data).hexdigest()[:_VERSION_DIGITS]
        bundle = cls(path, manifest.parse(data, path / manifest.FILE_NAME), version)
        if not bundle.manifest.variants:
            raise BundleError(f"{path} has no variants", hint="export the model again")
        for name in bundle._named_files():
            inside = PurePosixPath(name)
            if inside.is_absolute() or ".." in inside.parts:
                raise BundleError(f"{path} names a file outside its folder: {name}")
        bundle._check_hashes_are_known()
        return bundle

    @property
    def name(self) -> str:
        """The model's name."""
        return self.manifest.name

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """One class name per output, or the empty tuple.

        Raises:
            BundleError: the file is missing, no text, or has not one name for each class.
            CheckFailed: it is not what was exported.
        """
        if self.manifest.labels is None:
            return ()
        data = self.read(self.manifest.labels)
        path = self.folder / self.manifest.labels
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError:
            raise BundleError(f"{path} is not UTF-8 text", hint="export the model again") from None
        # Not splitlines, which would also split at U+2028 and the like; nor read_text, which splits at "\r".
        names = tuple(text.removesuffix("\n").split("\n")) if text else ()
        stated = self.manifest.outputs
        if stated is not None and stated.classes is not None and len(names) != stated.classes:
            raise BundleError(
                f"{path} has not one name for each class",
                expected=f"{stated.classes} lines",
                got=str(len(names)),
                hint="export the model again",
            )
        return names

    @cached_property
    def outputs(self) -> Outputs:
        """What the answer means. A bundle of schema version 1 does not say it: its golden answers are looked
        at.

        Raises:
            BundleError: the bundle is such a one, and its labels or golden data are missing.
        """
        if self.manifest.outputs is not None:
            return self.manifest.outputs
        labels = len(self.labels)
        return of_an_older_bundle(self.manifest.signature, labels, self.golden()[1] if labels else {})

    @property
    def preprocess(self) -> Preprocess:
        """The image preprocessing.

        Raises:
            UsageError: the model takes no image.
        """
        if self.manifest.preprocess is None:
            raise UsageError(f"{self.name} takes no image, so it cannot classify one")
        return self.manifest.preprocess

    def path(self, file: str) -> Path:
        """The path of one of the bundle's files.

        Raises:
            BundleError: the file is missing.
        """
        path = self.folder / file
        try:
            there = path.is_file()
        except (OSError, ValueError):  # a name that no file can have
            there = False
        if not there:
            raise BundleError(f"{self.folder} lacks {file}", hint="export the model again")
        return path

    def variant(self, name: str | None = None) -> Variant:
        """A variant by name, or the first.

        Raises:
            UsageError: there is no such variant.
        """
        variants = self.manifest.variants
        if name is None:
            return variants[0]
        for variant in variants:
            if variant.name == name:
                return variant
        raise UsageError(
            f"{self.folder} has no variant {name}",
            expected="one of " + ", ".join(variant.name for variant in variants),
            got=name,
            # Another precision is spelt nearly the same, and is not what was meant.
            hint=proposal(name, (variant.name for variant in variants), cutoff=0.85),
        )

    def golden(self) -> tuple[Arrays, Arrays]:
        """The golden inputs and the eager model's outputs, by tensor name; first dimension the sample.

        Raises:
            BundleError: they are missing, cannot be read, do not fit the signature, or are not finite.
            CheckFailed: they are not what was exported.
        """
        stored = self.manifest.golden
        path = self.folder / stored.file
        data = self.read(stored.file)
        # A file of 4 MB may unpack to 4 GB; what is none of the model's is not unpacked.
        golden.check_shapes(self.manifest.signature, *golden.parse_shapes(data, path), stored.samples, path)
        inputs, outputs = golden.parse(data, path)
        golden.check(self.manifest.signature, inputs, outputs, stored.samples, path)
        return inputs, outputs

    def check_file(self, file: str) -> None:
        """Compare one file with the hash that the manifest holds, unless it is too large to be that file.

        Raises:
            BundleError: the file is missing.
            CheckFailed: it is not what was exported.
        """
        path = self.path(file)
        sizes = [variant.bytes for variant in self.manifest.variants if file in variant.all_files]
        most, size = max(sizes, default=_MOST_BYTES), path.stat().st_size
        if size > most:
            raise _changed(str(path), f"at most {most:,} bytes", f"{size:,} bytes")
        self._compare(file, sha256(path))

    def _compare(self, file: str, got: str) -> None:
        expected = self._hashes().get(file)
        if expected is None:
            raise BundleError(f"{self.folder} has no hash of {file}", hint="export the model again")
        if got != expected:
            raise _changed(str(self.folder / file), f"sha256 {expected}", f"sha256 {got}")

    def read(self, file: str) -> bytes:
        """What a file holds; what is compared with its hash are the very bytes that are read.

        Raises:
            BundleError: the file is missing, cannot be read, or has no hash.
            CheckFailed: it is not what was exported.
        """
        try:
            data = read_regular(self.path(file), _MOST_BYTES)
        except OSError as error:
            raise BundleError(
                f"{self.folder / file} cannot be read: {error.strerror}", hint="export the model again"
            ) from None
        self._compare(file, hashlib.sha256(data).hexdigest())
        return data

    def check_variant(self, variant: Variant) -> None:
        """Compare a variant's files with their sizes and hashes; see `check_file`."""
        size = sum(self.path(file).stat().st_size for file in variant.all_files)
        if size != variant.bytes:
            files = " and ".join(str(self.folder / file) for file in variant.all_files)
            raise _changed(files, f"{variant.bytes:,} bytes", f"{size:,} bytes")
        for file in variant.all_files:
            self.check_file(file)
        if variant.format == "onnx":
            self._check_external(variant)

    def _check_external(self, variant: Variant) -> None:
        """Of an ONNX file, no tensor is read from a file that has no hash.

        Raises:
            BundleError: one would be.
        """
        others = locations(self.path(variant.file)) - {variant.weights}
        if others:
            raise BundleError(
                f"{self.folder / variant.file} takes weights from a file of which the manifest has no hash",
                expected=variant.weights or "all weights in it",
                got=", ".join(sorted(map(repr, others)))[:200],
                hint="export the model again",
            )

    def check_files(self) -> None:
        """Compare every file with its hash; see `check_file`."""
        for file in self._hashes():
            self.check_file(file)

    def _hashes(self) -> dict[str, str]:
        return {variant.file: variant.sha256 for variant in self.manifest.variants} | self.manifest.files

    def _check_hashes_are_known(self) -> None:
        """Every file that is read has one hash, and stands in the manifest's list."""
        said = [(variant.file, variant.sha256) for variant in self.manifest.variants]
        said += self.manifest.files.items()
        hashes = dict(said)
        for file, digest in said:
            if hashes[file] != digest:
                raise BundleError(
                    f"{self.folder} has two hashes of {file}: its manifest was changed",
                    hint="export the model again, or copy the bundle again",
                )
        for file in self._named_files():
            if file not in hashes:
                raise BundleError(
                    f"{self.folder} names {file} but has no hash of it: its manifest was changed",
                    hint="export the model again, or copy the bundle again",
                )

    def _named_files(self) -> list[str]:
        photographs = [photograph.file for photograph in self.manifest.golden.photographs]
        labels = [self.manifest.labels] if self.manifest.labels else []
        weights = [variant.weights for variant in self.manifest.variants if variant.weights is not None]
        return [*self._hashes(), self.manifest.golden.file, *photographs, *labels, *weights]


def _changed(files: str, expected: str, got: str) -> CheckFailed:
    return CheckFailed(
        f"{files} has changed since it was exported",
        expected=expected,
        got=got,
        hint="export the model again, or copy the bundle again",
    )
