from typing import Any

REVISION: int

def count_scans(jpeg: bytes, /) -> int: ...
def resize(
    arrow_array: Any,
    in_size: tuple[int, int],
    out_size: tuple[int, int],
    window: tuple[int, int, int, int],
    bicubic: bool,
    vertical_first: bool,
    table: bytes = ...,
    /,
) -> bytearray: ...
def resize_jpeg(
    jpeg: bytes,
    orientation: int,
    in_size: tuple[int, int],
    out_size: tuple[int, int],
    window: tuple[int, int, int, int],
    bicubic: bool,
    vertical_first: bool,
    table: bytes = ...,
    /,
) -> bytearray | None: ...
def bind(path: str, /) -> bool: ...
