"""What `pinnace verify` says of OpenVINO: files in 8 bits, and bf16 against a tolerance of its own."""

from __future__ import annotations

import pytest

from pinnace.export.validation.verify import verify_bundle
from pinnace.models.bundle.bundle import Bundle
from pinnace.models.runtimes.openvino_bf16 import OpenVinoBf16

pytestmark = pytest.mark.slow

pytest.importorskip("openvino", reason="OpenVINO has no wheel for this machine")

NO_BF16 = OpenVinoBf16.unavailable_reason()
with_bf16 = pytest.mark.skipif(NO_BF16 is not None, reason=str(NO_BF16))


def test_int8_files_are_run_as_they_are(precisions: Bundle) -> None:
    verdicts = {v.variant.name: v for v in verify_bundle(precisions, runtime="openvino")}
    assert {name: verdict.passed for name, verdict in verdicts.items()} == {
        "onnx-fp32": True,
        "onnx-fp16": True,
        "onnx-int8": True,
    }
    exact, rounded = (verdicts[name].parity for name in ("onnx-fp32", "onnx-int8"))
    assert exact is not None
    assert rounded is not None
    assert exact.max_rel < 1e-5 < rounded.max_rel


@with_bf16
def test_bf16_is_measured_against_its_own_tolerance_and_only_where_it_is_named(exported: Bundle) -> None:
    assert "openvino-bf16" not in {verdict.runtime for verdict in verify_bundle(exported)}
    (verdict,) = verify_bundle(exported, variant="onnx-fp32", runtime="openvino-bf16")
    assert verdict.passed is True
    assert verdict.parity is not None
    assert verdict.parity.runtime == "openvino-bf16"
    assert 1e-3 < verdict.parity.max_rel < 0.1  # more than fp32 is allowed
