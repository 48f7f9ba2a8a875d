"""The subject that runs the source's network in eager torch: the baseline that exporting should beat."""

from __future__ import annotations

import importlib.util
from typing import Any

from pinnace.models.bundle.bundle import Bundle
from pinnace.models.errors import MissingDependency, UsageError
from pinnace.models.loaders import load, parse_source
from pinnace.models.loaders.base import LoadRequest, OnnxFile
from pinnace.models.runtimes.base import RuntimeOptions
from pinnace.models.runtimes.torchscript import TorchScriptRuntime

EAGER = "eager"


class EagerTorch(TorchScriptRuntime):
    """Loads a bundle's source again and runs it in torch, operation by operation."""

    name = "torch"
    formats = ()  # type: ignore[assignment]

    def __init__(self, bundle: Bundle, options: RuntimeOptions) -> None:
        """Load the network.

        Raises:
            MissingDependency: torch, or a package of the source, is not installed.
            SourceError: the source cannot be found or reached any more.
            UsageError: the source is not a torch network, or needs options that a bundle does not keep.
        """
        if importlib.util.find_spec(self.module) is None:
            raise MissingDependency("eager needs torch, which is not installed", hint=self.how_to_install())
        self._source = parse_source(bundle.manifest.source)
        super().__init__(bundle.folder, bundle.manifest.signature, options)

    def _load(self) -> Any:
        loaded = load(LoadRequest(self._source))
        if isinstance(loaded, OnnxFile) or loaded.exported:
            raise UsageError(f"{self._source} was exported before, so it has no eager network")
        return loaded.module.to(self.device)
