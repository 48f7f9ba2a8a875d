"""The verbs of `pinnace`: what each does in a line, and an example of it. Nothing is imported to say so."""

from __future__ import annotations

from typing import NamedTuple


class Verb(NamedTuple):
    """A verb; the function of its name in `pinnace.cli.commands.NAME` does it.

    Attributes:
        summary: what it does, short enough for a line of `pinnace --help` at 80 columns.
        examples: commands that a reader may change and run.
    """

    summary: str
    examples: tuple[str, ...]


# In the order of `pinnace --help`.
VERBS = {
    "quickstart": Verb("Ask up to three questions, and run the command for you.", ("pinnace quickstart",)),
    "export": Verb(
        "Turn a model into a bundle, and prove every file of it.",
        ("pinnace export weights.pt --labels names.txt -o resnet50.bundle",),
    ),
    "build": Verb("Build TensorRT engines for this machine.", ("pinnace build resnet50.bundle",)),
    "verify": Verb(
        "Check that a bundle is unchanged and answers alike here.", ("pinnace verify resnet50.bundle",)
    ),
    "eval": Verb(
        "Measure accuracy on labelled images.", ("pinnace eval resnet50.bundle --images photos/by_class",)
    ),
    "bench": Verb(
        "Measure the latency of a bundle or a server.",
        (
            "pinnace bench resnet50.bundle --variant all",
            "pinnace bench http://localhost:3000 --scenario server",
        ),
    ),
    "tune": Verb(
        "Find what answers best on this machine, and keep it.",
        ("pinnace tune resnet50.bundle --images photos/by_class --max-p99 50",),
    ),
    "compare": Verb(
        "Say what changed between latency reports.",
        ("pinnace compare before.json after.json --fail-if 'p99 > 1.1x'",),
    ),
    "report": Verb("Write pages of latency reports, and their index.", ("pinnace report reports/",)),
    "sign": Verb("Sign a bundle with a private key.", ("pinnace sign resnet50.bundle --key private.pem",)),
    "pull": Verb(
        "Fetch a bundle from a store or a web server.",
        ("pinnace pull s3://models/resnet50 -o resnet50.bundle",),
    ),
    "push": Verb("Copy a bundle into a store.", ("pinnace push resnet50.bundle s3://models/resnet50",)),
    "cache": Verb(
        "Show which bundles were pulled, and remove old ones.", ("pinnace cache --prune --older-than 30d",)
    ),
    "serve": Verb("Answer over HTTP.", ("pinnace serve resnet50.bundle --port 8080",)),
    "drift": Verb(
        "Say whether what is asked and answered has changed.",
        (
            "pinnace drift record --against resnet50.bundle",
            "pinnace drift record --since 24h --against record",
        ),
    ),
    "replay": Verb(
        "Say what another bundle would have answered.",
        ("pinnace replay record --bundle resnet50-int8.bundle --report replay.html",),
    ),
    "package": Verb(
        "Make a bento, or what Triton or KServe serves.",
        ("pinnace package resnet50.bundle -o my.bento",),
    ),
    "classify": Verb(
        "Classify images with a bundle or a server.",
        (
            "pinnace classify cat.jpg --bundle resnet50.bundle",
            "pinnace classify photos/ --url localhost:3000 -o rows.csv",
        ),
    ),
    "embed": Verb(
        "Write the vectors of images.", ("pinnace embed photos/ --bundle features.bundle -o vectors.parquet",)
    ),
    "inspect": Verb("Show what is in a bundle.", ("pinnace inspect resnet50.bundle",)),
    "models": Verb("List the models that come with Pinnace.", ("pinnace models",)),
    "targets": Verb("List the platforms that a bundle can be made for.", ("pinnace targets",)),
    "doctor": Verb("Show what works here, and how to install the rest.", ("pinnace doctor",)),
}
