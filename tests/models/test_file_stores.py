"""Files that are written whole or not at all, on a disk as in a store."""

from __future__ import annotations

import errno
import resource
from pathlib import Path
from typing import Any

import pytest
from pyarrow import fs

from pinnace.models import file_stores
from pinnace.models.errors import UsageError
from support.errors import error_of

DATA = b"whole" * 50_000


def test_a_file_gets_its_name_when_all_of_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = []

    class Watched:
        """Local files; looks when one gets its name."""

        def __getattr__(self, name: str) -> Any:
            return getattr(fs.LocalFileSystem(), name)

        def move(self, temporary: str, place: str) -> None:
            assert Path(temporary).read_bytes() == DATA
            assert not Path(place).exists()
            fs.LocalFileSystem().move(temporary, place)
            moved.append((Path(temporary).parent, Path(place)))

    monkeypatch.setattr(file_stores, "open_store", lambda name: (Watched(), name))
    file_stores.write(str(tmp_path), "_list/00000.parquet", DATA)
    assert moved == [(tmp_path / "_tmp", tmp_path / "_list" / "00000.parquet")]
    assert (tmp_path / "_list" / "00000.parquet").read_bytes() == DATA


def test_a_file_that_cannot_be_written_to_its_end_leaves_nothing(tmp_path: Path) -> None:
    """As on a full disk: this process may write no file of more than so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(OSError, match="File too large") as raised:
            file_stores.write(str(tmp_path), "part", DATA)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    error = file_stores.not_written("out", raised.value)
    assert raised.value.errno == errno.EFBIG
    assert error.message == "out cannot be written: File too large"


def test_a_store_that_nothing_knows_is_named(tmp_path: Path) -> None:
    error = error_of(UsageError, lambda: file_stores.open_store("nonsense://bucket/x"))
    assert error.message.startswith("nonsense://bucket cannot be opened: ")
    assert file_stores.kind_of(str(tmp_path)) == "folder"
    assert file_stores.kind_of(str(tmp_path / "none")) == "nothing"
    file_stores.remove(str(tmp_path / "none"))


def test_azure_is_found_by_what_its_own_tools_read(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[tuple[str, dict[str, str]]] = []

    class Stores:
        """Notes what an Azure store is made of: none is here."""

        @staticmethod
        def AzureFileSystem(account: str, **options: str) -> None:
            made.append((account, options))

    for name in ("AZURE_STORAGE_ACCOUNT", "AZURE_STORAGE_CONNECTION_STRING"):
        monkeypatch.delenv(name, raising=False)
    error = error_of(UsageError, lambda: file_stores._azure(Stores))
    assert error.message == "az:// needs the name of the storage account"
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT", "mine")
    monkeypatch.setenv("AZURE_STORAGE_KEY", "key")
    file_stores._azure(Stores)
    text = (
        "DefaultEndpointsProtocol=http;AccountName=dev;AccountKey=a+b==;BlobEndpoint=http://127.0.0.1:1/dev;"
    )
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", text)
    file_stores._azure(Stores)
    own = {"blob_storage_scheme": "http", "dfs_storage_scheme": "http"}
    own |= {"blob_storage_authority": "127.0.0.1:1", "dfs_storage_authority": "127.0.0.1:1"}
    assert made == [("mine", {"account_key": "key"}), ("dev", {"account_key": "a+b==", **own})]


def test_keys_in_a_uri_stay_out_of_messages() -> None:
    error = error_of(UsageError, lambda: file_stores.open_store("nonsense://me:SECRET@bucket/x"))
    assert "SECRET" not in str(error)
    said = file_stores.not_reached("s3://me:SECRET@bucket/a?b#c.jpg", OSError("no"))
    assert said.message == "s3://bucket/a?b#c.jpg cannot be reached: no"
    assert isinstance(
        file_stores.not_reached("s3://bucket/x", OSError("AWS Error NETWORK_CONNECTION")),
        file_stores.StoreUnreachable,
    )
    assert not isinstance(
        file_stores.not_reached("s3://bucket/x", OSError("AWS Error ACCESS_DENIED")),
        file_stores.StoreUnreachable,
    )
