"""`pinnace replay`: what another bundle or server would have answered."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pinnace.cli.bundles import bundle_folder
from pinnace.cli.options import (
    ApiKeyOption,
    Json,
    ProgressOption,
    RecordedModelOption,
    RuntimeOption,
    SinceOption,
    VariantOption,
    check_who_answers,
    server_url,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pinnace.cli.replay.run import Replay
    from pinnace.models.answer import Answer


def replay(
    record: Annotated[
        str,
        typer.Argument(
            help="A record of pinnace serve --record --record-images: a folder or a URL.",
            metavar="RECORD",
            show_default=False,
        ),
    ],
    bundle: Annotated[
        Path | None,
        typer.Option(
            help="Ask this bundle, in this process.",
            metavar="BUNDLE",
            parser=bundle_folder,
            show_default=False,
        ),
    ] = None,
    url: Annotated[
        str | None,
        typer.Option(
            help="Ask a server, such as http://localhost:3000.", callback=server_url, show_default=False
        ),
    ] = None,
    api_key: ApiKeyOption = None,
    variant: VariantOption = None,
    runtime: RuntimeOption = None,
    model: RecordedModelOption = None,
    since: SinceOption = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Ask about so many pictures at most.", show_default="all")
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(metavar="FILE.html", help="Write a page with the pictures.", show_default=False),
    ] = None,
    progress: ProgressOption = None,
    json: Json = False,
) -> None:
    """Ask a bundle or a server about recorded pictures, and show which answers would change."""
    from pinnace.cli.classify.display import progress_bar
    from pinnace.cli.console import only_data, print_json
    from pinnace.cli.drift.moments import parse_moment
    from pinnace.cli.replay import page
    from pinnace.cli.replay.run import recorded_answers
    from pinnace.cli.replay.run import replay as ask_again
    from pinnace.latency.reports.write import check_ending, write_text
    from pinnace.models.records.reading import RowFilter

    check_who_answers(bundle, url, None, (variant, runtime))
    if report is not None:
        check_ending(report, (".html",), "a page")
    answers = recorded_answers(record, RowFilter(model, None if since is None else parse_moment(since)))
    asked = _asked(bundle, variant, runtime) if bundle is not None else _server(str(url), api_key)
    total = len(answers) if limit is None else min(limit, len(answers))
    with only_data(), asked as (ask, concurrency), progress_bar(progress, total=total, done=0) as bar:
        result = ask_again(record, answers, ask, concurrency=concurrency, limit=limit, advance=bar.advance)
    other = str(bundle or url)
    if report is not None:
        write_text(report, page.render(record, other, result))
    if json:
        print_json(_as_json(record, other, result))
    else:
        _print(record, other, result)


@contextmanager
def _asked(
    folder: Path, variant: str | None, runtime: str | None
) -> Iterator[tuple[Callable[[bytes], Answer], int]]:
    """What answers in this process, and how many calls at once are worth while."""
    from pinnace.cli.bulk.model_spec import ModelSpec
    from pinnace.models.bundle.bundle import Bundle
    from pinnace.models.classifier import Classifier
    from pinnace.models.cpus import available_cpus
    from pinnace.models.runtimes.base import RuntimeOptions

    options = RuntimeOptions(threads=1, concurrency=available_cpus())
    spec = ModelSpec(Bundle.open(folder), "classify", variant=variant, runtime=runtime, options=options)
    spec, _ = spec.chosen(use_profile=False)
    with spec.open() as model:
        assert isinstance(model, Classifier)
        yield model.classify, options.concurrency if model.runtime.concurrent else 1


@contextmanager
def _server(url: str, api_key: str | None) -> Iterator[tuple[Callable[[bytes], Answer], int]]:
    """A server, and how many requests at once are worth while."""
    from pinnace.cli.classify.options import RETRIES_OF_MANY, SERVER_CONCURRENCY
    from pinnace.clients.client import Client

    retries, when_full = RETRIES_OF_MANY
    with Client(url, retries=retries, retries_when_full=when_full, api_key=api_key) as client:
        yield client.classify, SERVER_CONCURRENCY


def _as_json(record: str, other: str, result: Replay) -> dict[str, Any]:
    return {
        "record": record,
        "asked": other,
        "pictures": result.pictures,
        "failed": result.failed,
        "flipped": len(result.flips),
        "mean_change": sum(result.moved) / len(result.moved) if result.moved else None,
        "changes": [{"from": one, "to": two, "pictures": count} for one, two, count in result.pairs],
        "flips": [
            {"sha256": flip.sha256, "before": flip.before, "after": flip.after} for flip in result.flips
        ],
        "recorded": _who(result.before),
        "answering": _who(result.after),
    }


def _who(counts: dict[tuple[str, str, str], int]) -> list[dict[str, Any]]:
    return [
        {"model": model, "version": version, "variant": variant, "pictures": count}
        for (model, version, variant), count in counts.items()
    ]


def _print(record: str, other: str, result: Replay) -> None:
    from pinnace.cli.console import out, plain, print_note
    from pinnace.cli.replay.page import summary
    from pinnace.cli.tables import numbers, print_table, texts

    out().print(f"{plain(other)} on the pictures of {plain(record)}", soft_wrap=True)
    out().print(plain(summary(result)), soft_wrap=True)
    rows = [(plain(one), plain(two), f"{count:,}") for one, two, count in result.pairs]
    print_table(out(), (*texts("from", "to"), *numbers("pictures")), rows)
    if result.failed:
        print_note(f"{result.failed} pictures cannot be read there")
