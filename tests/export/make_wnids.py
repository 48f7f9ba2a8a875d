"""Make `export/wnids.txt`, the WordNet ids of the 1000 ImageNet-1k classes in the order of their indices.

The ids are ImageNet's own; the list is read from timm (Apache-2.0). Needs timm.

    python tests/export/make_wnids.py
"""

from pathlib import Path

if __name__ == "__main__":
    from timm.data import ImageNetInfo

    names = ImageNetInfo("imagenet-1k").label_names()
    (Path(__file__).parents[2] / "export" / "wnids.txt").write_text("".join(f"{name}\n" for name in names))
