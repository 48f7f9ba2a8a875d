"""Runtimes whose files take one sample: a batch is answered one by one."""

from __future__ import annotations

import abc
from typing import Any

import numpy as np
import numpy.typing as npt

from pinnace.models.runtimes.base import Feeds, Outputs, Runtime

Arrays = list[npt.NDArray[Any]]


class OneByOne(Runtime):
    """Calls `_one` for each sample."""

    concurrent = False

    @abc.abstractmethod
    def _one(self, inputs: Arrays) -> Arrays:
        """Answer one sample: arrays in the signature's order whose first dimension is 1, there and back."""

    def _run(self, feeds: Feeds) -> Outputs:
        names = self.signature.input_names
        count = len(feeds[names[0]])
        answers = [self._one([feeds[name][index : index + 1] for name in names]) for index in range(count)]
        return {
            name: np.concatenate([answer[place] for answer in answers])
            for place, name in enumerate(self.signature.output_names)
        }
