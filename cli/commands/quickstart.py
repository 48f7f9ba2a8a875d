"""`pinnace quickstart`: up to three questions, and the plain command that they come to, which is then run."""

from __future__ import annotations

import shlex
import subprocess
import sys

import typer

_CATALOGUE, _CHECKPOINT, _SERVER = "1", "2", "3"
_SERVED = "http://localhost:3000"


def quickstart() -> None:
    """Ask where you begin, and run the command for it: a model of the catalogue, a checkpoint, or a server.

    At most three questions, each with an answer that Enter gives. The command is shown before it runs, so
    that you can type it yourself the next time.
    """
    from pinnace.models.errors import UsageError

    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageError("quickstart asks questions, and nobody is at a terminal here", hint="pinnace --help")
    _say("What do you begin with?")
    _say(f"  {_CATALOGUE}  a model that comes with Pinnace")
    _say(f"  {_CHECKPOINT}  a checkpoint or an ONNX file of your own")
    _say(f"  {_SERVER}  a server that runs already")
    begin = _ask("1, 2 or 3", _CATALOGUE)
    while begin not in (_CATALOGUE, _CHECKPOINT, _SERVER):
        begin = _ask("Type 1, 2 or 3", _CATALOGUE)
    commands = {_CATALOGUE: _catalogue, _CHECKPOINT: _checkpoint, _SERVER: _server}[begin]()
    for command in commands:
        _run(command)


def _catalogue() -> list[list[str]]:
    from pinnace.models.loaders import all_loaders

    names = [row.source for each in all_loaders().values() for row in each.listed() if row.top1 is not None]
    name = _ask(f"Which model? {', '.join(names)}", names[0])
    return _export_and_serve([name], f"{name}.bundle")


def _checkpoint() -> list[list[str]]:
    from pinnace.models.loaders.paths import default_name, find_source

    path = ""
    while not path:
        path = _ask("Which file?", "").strip().strip("'\"")
    words = [path]
    if not path.endswith((".onnx", ".pt2")):
        arch = _ask("What builds its network? module:factory, torchvision:NAME, or Enter to find out", "")
        words += ["--arch", arch] if arch else []
    return _export_and_serve(words, default_name(find_source(path)))


def _export_and_serve(source: list[str], folder: str) -> list[list[str]]:
    serve = typer.confirm(f"Serve it on {_SERVED} when it is exported?", default=True, err=True)
    export = ["export", *source, "-o", folder]
    return [export, ["serve", folder]] if serve else [export]


def _server() -> list[list[str]]:
    from pinnace.models.photographs import photographs

    url = _ask("Where is it?", _SERVED)
    image = _ask("Which image shall it classify?", str(photographs()[0]))
    return [["classify", image, "--url", url]]


def _ask(question: str, otherwise: str) -> str:
    answer: str = typer.prompt(question, default=otherwise, show_default=bool(otherwise), err=True)
    return answer.strip()


def _say(sentence: str) -> None:
    typer.echo(sentence, err=True)


def _run(words: list[str]) -> None:
    """Show a command and run it; where it fails, no other follows."""
    typer.secho(f"\n$ {shlex.join(['pinnace', *words])}", err=True, bold=True)
    done = subprocess.run([sys.executable, "-m", "pinnace.cli.main", *words], check=False)
    if done.returncode:
        raise typer.Exit(done.returncode)
