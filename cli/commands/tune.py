"""`pinnace tune`: the configuration that answers best on this machine, within bounds of accuracy and p99."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from pinnace.cli.exit_status import INTERRUPTED
from pinnace.cli.options import BundleArgument, Json, ProgressOption, command
from pinnace.cli.tune.options import TuneOptions

if TYPE_CHECKING:
    from pinnace.models.profile import Profile


@command
def tune(
    bundle: BundleArgument,
    options: TuneOptions,
    progress: ProgressOption = None,
    json: Json = False,
) -> None:
    """Find the variant, runtime, threads, processes and batch that answer best on this machine.

    From JPEG bytes to the answer. Accuracy comes first: what loses more than --max-drop does not race. Then
    all that is left races in turns, and whoever is surely slower than the leader drops out. The finalists are
    confirmed on a real server. The winner becomes the bundle's profile, which `pinnace serve`, `classify` and
    `bench` use from then on. Ctrl-C keeps what is known.
    """
    from pinnace.cli.console import print_json
    from pinnace.cli.tune.show import print_result, print_written
    from pinnace.latency.tuning.report import check_ending, write_report
    from pinnace.models import profile
    from pinnace.models.bundle import signing
    from pinnace.models.bundle.bundle import Bundle
    from pinnace.models.bundle.cache import is_cached
    from pinnace.models.errors import CheckFailed, UsageError

    for path in options.report or ():
        check_ending(path)
    if options.device is None and options.device_python is not None:
        raise UsageError(
            "--device-python is about another machine", hint="name it with --device ssh://user@host"
        )
    if options.device is None and options.install:
        raise UsageError("--install is about another machine", hint="name it with --device ssh://user@host")
    opened = Bundle.open(bundle)
    if is_cached(opened.folder) and (opened.folder / signing.FILE_NAME).is_file():
        raise UsageError(
            "a profile is a file more, and the bundle is signed as it is elsewhere",
            hint="pull it into a folder, tune it there, and sign it anew",
        )
    failure: CheckFailed | None = None
    made: Profile | None = None
    name = profile.FILE_NAME
    if options.device is not None:
        from pinnace.cli.tune.device import tune_on_device

        result, made, name = tune_on_device(opened, options.device, options, progress)
    else:
        from pinnace.cli.tune.run import tune_bundle

        result = tune_bundle(opened, options, progress)
        try:
            # Engines that were built have given it another version.
            made = result.profile(Bundle.open(bundle, check_signature=False))
        except CheckFailed as error:
            failure = error
    for path in options.report or ():
        write_report(result, path)
    written = None if made is None else profile.write(made, opened.folder, name)
    if json:
        data = result.to_data(samples=False)
        print_json(data | {"profile": None if written is None else str(written)})
    else:
        print_result(result)
    if failure is not None:
        raise failure
    assert written is not None
    print_written(written, options.device)
    if result.race.interrupted:
        raise typer.Exit(INTERRUPTED)
