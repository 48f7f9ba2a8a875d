"""Repositories with a `hubconf.py`, as torch.hub has them: on GitHub, or in a local folder."""

from __future__ import annotations

import ast
import importlib.util
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pinnace.models.errors import SourceError, UsageError
from pinnace.models.loaders.base import LoadedModel, Loader, LoadRequest, Parts, refuse
from pinnace.models.loaders.foreign import (
    describe,
    imports_from,
    in_one_sentence,
    missing_packages,
    untrusted,
    working_in,
)
from pinnace.models.source import Source

_HUBCONF = "hubconf"
_NETWORK_TIMEOUT = 20.0


def load(request: LoadRequest) -> LoadedModel:
    """Run the entry point of a repository.

    The repository's folder is first on the path and the working directory while its code runs, so that it
    finds its own modules and its data. An argument that names a file in the caller's folder becomes that
    file's full path.
    """
    refuse(request, arch=request.arch)
    source = request.source
    if not request.trust:
        raise untrusted(f"{source} is a repository of Python code")
    folder = _local(request) if is_local(source.name) else _fetch(source)
    hubconf = folder / f"{_HUBCONF}.py"
    if not hubconf.is_file():
        raise SourceError(f"{source} is not a hub repository: {folder} has no hubconf.py")
    import torch

    # torch stands before the folder is first on the path, as in torch.hub: a `torch.py` there is not torch.
    with imports_from(folder), working_in(folder):
        _require(source, _declared(hubconf))
        module = _import(source, hubconf)
        _require(source, getattr(module, "dependencies", ()))
        entry = _entry(source, module)
        arguments = {name: _full_path(value, request) for name, value in request.keywords.items()}
        with in_one_sentence(f"{source}: the entry point {source.entry}", folder):
            network = entry(**arguments)
    if not isinstance(network, torch.nn.Module):
        raise SourceError(
            f"{source}: the entry point {source.entry} does not return a network",
            expected="a torch.nn.Module",
            got=type(network).__name__,
        )
    return LoadedModel(network)


def _local(request: LoadRequest) -> Path:
    folder = (Path(request.folder) / Path(request.source.name).expanduser()).resolve()
    if not folder.is_dir():
        raise SourceError(f"there is no folder {folder}")
    return folder


def _fetch(source: Source) -> Path:
    """The repository's folder in torch's cache, downloaded if it is not there."""
    import torch

    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_NETWORK_TIMEOUT)  # torch.hub itself would wait for ever
    try:
        name = source.name if source.ref is None else f"{source.name}:{source.ref}"
        fetch: Any = torch.hub._get_cache_or_reload
        return Path(fetch(name, force_reload=False, trust_repo=True))
    except Exception as error:  # URLError, HTTPError, RuntimeError, ValueError, BadZipFile, KeyError, ...
        raise SourceError(
            f"{source} cannot be fetched from GitHub: {describe(error)}",
            hint=f"clone it where there is a network, and use hub:./FOLDER#{source.entry}",
        ) from error
    finally:
        socket.setdefaulttimeout(before)


def _declared(hubconf: Path) -> list[str]:
    """The list `dependencies` of a hubconf.py, read without running it; empty where it cannot be."""
    try:
        tree = ast.parse(hubconf.read_bytes())
    except (SyntaxError, ValueError, RecursionError):
        return []
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else []
        if isinstance(node, ast.AnnAssign):
            targets = [node.target]
        if [ast.dump(target) for target in targets] == [_DEPENDENCIES]:
            assert isinstance(node, ast.Assign | ast.AnnAssign)
            try:
                names = ast.literal_eval(node.value or "None")
            except ValueError:
                return []
            names = [names] if isinstance(names, str) else names
            return list(names) if isinstance(names, list | tuple) else []
    return []


_DEPENDENCIES = ast.dump(ast.Name("dependencies", ast.Store()))


def _require(source: Source, names: Any) -> None:
    names = [names] if isinstance(names, str) else names or ()
    missing = [name for name in names if isinstance(name, str) and not _is_there(name)]
    if missing:
        raise missing_packages(str(source), missing)


def _is_there(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return name in sys.modules


def _import(source: Source, hubconf: Path) -> Any:
    spec = importlib.util.spec_from_file_location(_HUBCONF, hubconf)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[_HUBCONF] = module
    with in_one_sentence(f"{source}: importing hubconf.py", hubconf.parent):
        spec.loader.exec_module(module)
    return module


def _entry(source: Source, module: Any) -> Callable[..., Any]:
    """The entry point, by the rules of `torch.hub.list`."""
    entries = [name for name in vars(module) if not name.startswith("_") and callable(vars(module)[name])]
    if source.entry not in entries:
        raise UsageError(
            f"{source} has no entry point {source.entry}",
            expected="one of " + ", ".join(entries) if entries else None,
            got=source.entry,
        )
    entry: Callable[..., Any] = vars(module)[source.entry]
    return entry


def _full_path(value: object, request: LoadRequest) -> object:
    """An argument such as `weights=best.pt` means a file of the caller's, not of the repository."""
    if not isinstance(value, str) or Path(value).suffix == "":
        return value
    path = Path(request.folder).absolute() / value
    try:
        return str(path) if path.is_file() else value
    except (OSError, ValueError):
        return value


def snippet(request: LoadRequest) -> str:
    """The line that makes the network with torch.hub alone."""
    source = request.source
    local = is_local(source.name)
    repository = source.name if local or source.ref is None else f"{source.name}:{source.ref}"
    where = "local" if local else "github"
    arguments = "".join(f", {name}={value!r}" for name, value in request.keywords.items())
    return (
        f"model = torch.hub.load({repository!r}, {source.entry!r}, source={where!r}, "
        f"trust_repo=True{arguments})\n"
    )


def is_local(repository: str) -> bool:
    """Whether a repository is a local folder."""
    return repository.startswith((".", "/", "~"))


def _parse(text: str) -> Parts | None:
    repository, hash_sign, entry = text.rpartition("#")
    if not hash_sign or not repository or not entry:
        return None
    if is_local(repository):
        return repository, None, entry
    name, colon, ref = repository.partition(":")
    return None if name.count("/") != 1 or (colon and not ref) else (name, ref or None, entry)


LOADER = Loader(
    kind="hub",
    form="hub:owner/repo[:ref]#entry or hub:./folder#entry",
    usage="hub:REPO#ENTRY",
    load=load,
    snippet=snippet,
    parse=_parse,
    rank=40,
)
