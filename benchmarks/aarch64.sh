#!/bin/sh
# Runs `classify` and `verify` of a bundle on an aarch64 that is emulated, with Debian's Python and the wheels of a
# board: proof that nothing needs x86. Nothing is timed.
#
#   sudo apt-get install qemu-user; sudo dpkg --add-architecture arm64; sudo apt-get update
#   sh benchmarks/aarch64.sh model.bundle photograph.jpg
#
# ORT=1.23.2 chooses the version of ONNX Runtime; PYTHON is the one that downloads, with pip and Pinnace in it.
set -eu

bundle=$(realpath "$1") image=$(realpath "$2")
python=${PYTHON:-python3} ort=${ORT:-1.23.2}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

mkdir "$work/debs" "$work/root" "$work/wheels" "$work/site"
cd "$work/debs"
apt-get download -q \
  python3.11:arm64 python3.11-minimal:arm64 libpython3.11-stdlib:arm64 libpython3.11-minimal:arm64 libc6:arm64 \
  libgcc-s1:arm64 libstdc++6:arm64 libgomp1:arm64 zlib1g:arm64 libexpat1:arm64 libssl3:arm64 libffi8:arm64 \
  libbz2-1.0:arm64 liblzma5:arm64 libsqlite3-0:arm64 libuuid1:arm64 libcrypt1:arm64
for package in *.deb; do dpkg-deb -x "$package" "$work/root"; done

cd "$work"
"$python" -c 'from pathlib import Path; from pinnace.serving.packaging.wheel import write_wheel; write_wheel(Path("wheels"))'
"$python" -m pip download -q --dest wheels --only-binary=:all: --implementation cp --python-version 3.11 \
  --platform manylinux_2_28_aarch64 --platform manylinux_2_27_aarch64 --platform manylinux2014_aarch64 \
  numpy pillow pydantic pydantic-settings typer rich httpx psutil typing-extensions "onnxruntime==$ort"
for wheel in wheels/*.whl; do "$python" -m zipfile -e "$wheel" site; done

export PYTHONPATH="$work/site" PYTHONDONTWRITEBYTECODE=1
emulated() { qemu-aarch64 -L "$work/root" "$work/root/usr/bin/python3.11" "$@"; }
emulated -c 'import platform, onnxruntime; print(platform.machine(), "onnxruntime", onnxruntime.__version__)'
emulated -m pinnace.cli.main classify --bundle "$bundle" --variant onnx-fp32 --runtime onnxruntime "$image"
emulated -m pinnace.cli.main verify "$bundle" --variant onnx-fp32 --runtime onnxruntime
