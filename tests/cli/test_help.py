"""The help is whole at 80 columns, with types in words and examples; what is misspelt is proposed."""

from __future__ import annotations

import importlib
import re
import shlex
from pathlib import Path

import pytest

from pinnace.cli.group import verb
from pinnace.cli.verbs import VERBS
from support.command_line import CommandLine

COMMANDS = Path(importlib.import_module("pinnace.cli.commands").__file__ or "").parent
CAT = Path(__file__).parents[2] / "models" / "photographs" / "cat.jpg"
each_verb = pytest.mark.parametrize("name", VERBS)


@pytest.fixture(autouse=True)
def eighty_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


def test_every_verb_is_listed_with_its_whole_summary(pinnace: CommandLine) -> None:
    assert {path.stem for path in COMMANDS.glob("*.py")} - {"__init__"} == set(VERBS)
    shown = pinnace("--help").out.splitlines()
    for name, each in VERBS.items():
        assert f"  {name:<10}  {each.summary}" in shown
    assert max(map(len, shown)) <= 80


def test_without_a_command_off_a_terminal_there_is_the_help(pinnace: CommandLine) -> None:
    assert pinnace() == pinnace("--help")


@each_verb
def test_the_help_of_a_verb(pinnace: CommandLine, name: str) -> None:
    shown = pinnace(name, "--help")
    assert shown.status == 0
    assert max(map(len, shown.out.splitlines())) <= 80
    options, _, examples = shown.out.partition("\nExample")
    assert [line.strip() for line in examples.splitlines()[1:] if line] == list(VERBS[name].examples)
    assert not re.search(r"<(?:str|int|float|path|list)|\bx[<>]=|<=x|\{|\.{4}", options)


@each_verb
def test_the_examples_are_spelt_as_the_verb_knows_it(name: str) -> None:
    for example in VERBS[name].examples:
        program, typed, *words = shlex.split(example)
        assert (program, typed) == ("pinnace", name)
        verb(name).make_context(name, words)


def test_export_helps_on_one_screen(pinnace: CommandLine) -> None:
    assert len(pinnace("export", "--help").out.splitlines()) <= 60


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["exprot", "x"], "error: pinnace has no command exprot\n  help: did you mean pinnace export? "),
        (["qqq"], "error: pinnace has no command qqq\n  help: pinnace --help lists all\n"),
        (
            ["bench", "x", "--varient", "y"],
            "error: pinnace bench has no option --varient\n  help: did you mean --variant? ",
        ),
        (["classify", "x", "--top-k", "z"], "error: --top-k has a wrong value\n  expected: a whole number\n"),
        (["classify", "x", "--top-k", "0"], "error: --top-k has a wrong value\n  expected: at least 1\n"),
        (["serve", "--port", "99999"], "error: --port has a wrong value\n  expected: "),
        (["tune", "x", "--max-p99", "fast"], "error: --max-p99 has a wrong value\n  expected: a number\n"),
        (
            ["export", "x", "--scores", "softmx"],
            "error: --scores cannot be 'softmx'\n"
            "  expected: one of softmax, sigmoid, none, embedding, tensors\n"
            "  help: did you mean softmax?\n",
        ),
        (["sign", "x"], "error: pinnace sign needs --key\n  help: pinnace sign --help\n"),
        (["models", "resnet"], "error: pinnace models takes no resnet\n  help: pinnace models --help\n"),
        (["serve", "x", "--port"], "error: --port needs a value\n"),
        (
            ["export", "efficientnet_lite0", "--format", "onx"],
            "error: there is no format onx\n"
            "  expected: one of executorch, litert, ncnn, onnx, pt2, torchscript\n  got: onx\n"
            "  help: did you mean onnx?\n",
        ),
        (
            ["export", "efficientnet_lite0", "--calibrate", "nosuch"],
            "error: --calibrate: there is no folder nosuch\n  expected: a folder with images\n",
        ),
        (
            ["export", str(CAT)],
            f"error: {CAT} is an image and not a model\n  help: pinnace classify cat.jpg asks ",
        ),
        (["export", "torchvison:resnet18"], "error: 'torchvison:resnet18' is not a model source\n"),
    ],
)
def test_what_is_misspelt_is_proposed(pinnace: CommandLine, arguments: list[str], message: str) -> None:
    outcome = pinnace(*arguments)
    assert outcome.status == 2
    assert outcome.err.startswith(message)


def test_a_misspelt_kind_of_source_is_proposed(pinnace: CommandLine) -> None:
    assert pinnace("export", "torchvison:resnet18").err.endswith(
        "  help: did you mean torchvision:resnet18?\n"
    )


@pytest.mark.parametrize(
    "arguments",
    [["classify", "{cat}", "--url"], ["embed", "{cat}", "--url"], ["bench"]],
    ids=lambda words: words[0],
)
def test_a_server_without_its_scheme_is_understood(
    pinnace: CommandLine, nobody: str, arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    cat = Path(__file__).parents[2] / "models" / "photographs" / "cat.jpg"
    outcome = pinnace(*(word.format(cat=cat) for word in arguments), nobody.removeprefix("http://"))
    assert outcome.status == 2
    assert nobody in outcome.err
    assert "refused" in outcome.err
