"""Measures what `pinnace bench` was given: a bundle here, a bundle on a device, a server, or a suite."""

from __future__ import annotations

import sys
from dataclasses import replace

from pinnace.cli.bench.accuracy import with_accuracy
from pinnace.cli.bench.options import BenchOptions
from pinnace.cli.bench.suite import measure_suite
from pinnace.cli.bench.table import progress_of
from pinnace.cli.console import print_note
from pinnace.cli.remote_install import install_on
from pinnace.latency import openers, run
from pinnace.latency.cold import starts
from pinnace.latency.remote import bench as remote
from pinnace.latency.remote.ssh import Address, Ssh
from pinnace.latency.report import LatencyReport
from pinnace.latency.result import Failure
from pinnace.latency.scenarios import parse
from pinnace.latency.sweep import combinations
from pinnace.models.bundle.bundle import Bundle
from pinnace.models.selection import select


def measure(options: BenchOptions, progress: bool | None) -> LatencyReport:
    """Run the bench.

    Args:
        options: what was asked for.
        progress: whether to show how far it is; None means on a terminal only.

    Raises:
        PinnaceError: the options are wrong, or nothing could be measured.
        KeyboardInterrupt: it was interrupted before there was anything to report.
    """
    options.check()
    if options.suite is not None:
        return measure_suite(options, options.suite, progress)
    assert options.target is not None
    if options.device is not None:
        return _measure_on_device(options, options.device, options.target, progress)
    settings = options.settings()
    bundle = None
    if options.is_server:
        opened = openers.server_openers(options.target, options.api_key)
    else:
        bundle = Bundle.open(options.target)
        chosen = select(
            bundle,
            options.variant,
            options.runtime,
            use_profile=not options.no_profile and options.provider is None,
        )
        if chosen.note is not None:
            print_note(chosen.note)
        how = options.runtime_options()
        how = how if chosen.device is None else replace(how, device=chosen.device)
        if options.static:
            opened = openers.static_openers(bundle, how, settings)
        else:
            opened = [
                opener
                for batch, threads in combinations(settings.sweep, settings.batch, how.threads)
                for opener in openers.bundle_openers(
                    bundle,
                    chosen.variant,
                    chosen.runtime,
                    replace(how, threads=threads),
                    replace(settings, batch=batch),
                )
            ]
    with progress_of(progress, len(opened), settings) as step:
        cold: list[starts.Cold] = []
        failures: list[Failure] = []
        if bundle is not None and settings.cold:
            # First, while no runtime of this process keeps its libraries in memory.
            pairs = openers.pairs_of(bundle, chosen.variant, chosen.runtime, how.device)
            scenarios = parse(",".join(settings.scenarios))
            batches = [openers.batch_of(bundle, each, settings.batch) for each in scenarios]
            cold, failures = starts.measure(bundle, pairs, how, batches, step)
        report = run.bench(opened, settings, step, cold=cold)
        report = replace(report, failures=(*failures, *report.failures))
    if bundle is not None and options.images is not None:
        report = with_accuracy(report, bundle, options.images, progress)
    return report


def _measure_on_device(
    options: BenchOptions, device: str, folder: str, progress: bool | None
) -> LatencyReport:
    ssh = Ssh(Address.parse(device))
    bundle = Bundle.open(folder)
    python = options.device_python
    if options.install:
        python = install_on(ssh, python, print_note)
    job = remote.Job(
        bundle=bundle,
        variant=options.variant,
        runtime=options.runtime,
        end_to_end=options.end_to_end,
        arguments=(
            *remote.arguments(options.settings(), options.variant, options.runtime),
            *(("--no-profile",) if options.no_profile else ()),
        ),
        python=python,
    )
    return remote.bench(
        ssh,
        job,
        print_note,
        progress=sys.stderr.isatty() if progress is None else progress,
    )
