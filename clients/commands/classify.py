"""`pinnace classify`: ask a bundle in this process, or a server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pinnace.clients.options import Json, RuntimeOption, ThreadsOption, VariantOption

if TYPE_CHECKING:
    from pinnace.models.answer import Answer

Ask = Callable[[Path], "Answer"]

_BAR = 24


def classify(
    images: Annotated[
        list[Path], typer.Argument(help="Image files.", metavar="IMAGE...", show_default=False)
    ],
    bundle: Annotated[
        Path | None, typer.Option(help="Classify in this process.", metavar="BUNDLE", show_default=False)
    ] = None,
    url: Annotated[
        str | None, typer.Option(help="Ask a server, such as http://localhost:3000.", show_default=False)
    ] = None,
    top_k: Annotated[int | None, typer.Option(min=1, help="How many classes.", show_default="5")] = None,
    variant: VariantOption = None,
    runtime: RuntimeOption = None,
    threads: ThreadsOption = None,
    json: Json = False,
) -> None:
    """Classify images with a bundle in this process, or with a running server."""
    from rich.markup import escape

    from pinnace.clients.output import err, print_error, print_json
    from pinnace.models.errors import PinnaceError, UsageError

    if (bundle is None) == (url is None):
        raise UsageError("give either --bundle BUNDLE or --url URL")
    rows: list[dict[str, Any]] = []
    failed = False
    with _server(url, top_k) if url else _bundle(bundle, variant, runtime, threads, top_k) as ask:
        for image in images:
            try:
                answer = ask(image)
            except PinnaceError as error:
                if len(images) == 1:
                    raise
                failed = True
                rows.append({"image": str(image), **error.http_body()})
                if not json:
                    err().print(f"[bold]{escape(str(image))}[/]", soft_wrap=True)
                    print_error(error)
                continue
            rows.append({"image": str(image), **asdict(answer)})
            if not json:
                _print_answer(image, answer)
    if json:
        print_json(rows)
    if failed:
        raise typer.Exit(1)


@contextmanager
def _server(url: str, top_k: int | None) -> Iterator[Ask]:
    from pinnace.clients.client import Client

    with Client(url) as client:
        yield lambda image: client.classify(image, top_k)


@contextmanager
def _bundle(
    folder: Path | None, variant: str | None, runtime: str | None, threads: int | None, top_k: int | None
) -> Iterator[Ask]:
    from pinnace.models.bundle import Bundle
    from pinnace.models.classifier import Classifier
    from pinnace.models.runtimes.base import RuntimeOptions

    options = RuntimeOptions() if threads is None else RuntimeOptions(threads=threads)
    assert folder is not None
    with Classifier(Bundle.open(folder), variant, runtime, options) as classifier:
        classifier.check_top_k(top_k)
        yield lambda image: classifier.classify(image, top_k)


def _print_answer(image: Path, answer: Answer) -> None:
    from rich.markup import escape
    from rich.table import Table

    from pinnace.clients.output import out

    table = Table.grid(padding=(0, 2))
    for prediction in answer.predictions:
        bar = "█" * round(_BAR * prediction.probability)
        table.add_row(
            f"{prediction.probability:7.2%}",
            f"[cyan]{bar:<{_BAR}}[/]",
            escape(prediction.label),
            f"[dim]{prediction.index}[/]",
        )
    console = out()
    timing = answer.timing_ms
    console.print(
        f"[bold]{escape(str(image))}[/]  {escape(answer.model)} {answer.variant} in {answer.runtime}, "
        f"{timing.total:.1f} ms"
    )
    console.print(table)
