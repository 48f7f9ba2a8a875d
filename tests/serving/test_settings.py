"""Settings and the layout that follows from them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pinnace.cli.main import run
from pinnace.models.errors import UsageError
from pinnace.serving.inference.layout import Layout, plan
from pinnace.serving.settings import ServerSettings, load_settings, resolve_settings


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PINNACE_CONFIG", raising=False)
    for name in ServerSettings.model_fields:
        monkeypatch.delenv(f"PINNACE_{name.upper()}", raising=False)


def test_the_defaults() -> None:
    settings = load_settings()
    assert settings.bundle == (Path("efficientnet_lite0.bundle"),)
    assert (settings.host, settings.port) == ("127.0.0.1", 3000)
    assert (settings.max_body_bytes, settings.max_pixels) == (20_000_000, 100_000_000)


def test_what_is_given_counts_more_than_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PINNACE_PORT", "3001")
    monkeypatch.setenv("PINNACE_WORKERS", "2")
    monkeypatch.setenv("PINNACE_VARIANT", "")
    settings = load_settings(port=3002, workers=None)
    assert (settings.port, settings.workers, settings.variant) == (3002, 2, None)


def test_the_environment_carries_every_setting_to_the_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load_settings(bundle=Path("x.bundle"), variant="onnx-fp32", timeout=1.5, api_key="se cret")
    for name, value in settings.environment().items():
        monkeypatch.setenv(name, value)
    assert load_settings() == settings.model_copy(update={"bundle": (Path("x.bundle").absolute(),)})


def test_the_key_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PINNACE_API_KEY", "secret")
    assert "secret" not in repr(load_settings())


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("port", "70000", "it should be at most 65535"),
        (
            "workers",
            "many",
            "it should be a whole number or 'auto'",
        ),
        ("workers", "0", "it should be at least 1 or 'auto'"),
        ("timeout", "inf", "it should be a finite number"),
        ("device", "tpu", "it should be 'cpu', 'cuda', 'gpu', 'npu' or 'auto'"),
    ],
)
def test_a_wrong_setting_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, message: str
) -> None:
    variable = f"PINNACE_{name.upper()}"
    monkeypatch.setenv(variable, value)
    with pytest.raises(UsageError) as caught:
        load_settings()
    assert caught.value.message == f"the setting {name} ({variable}) is not valid: {message}"
    assert caught.value.got == value


def test_the_order_is_option_environment_file_default(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('bundle = "x.bundle"\nport = 1\nqueue = 1\nthreads = 1\napi_key = "secret"\n')
    monkeypatch.setenv("PINNACE_QUEUE", "2")
    monkeypatch.setenv("PINNACE_PORT", "2")
    monkeypatch.setenv("PINNACE_VARIANT", "")
    settings = load_settings(file, port=3)
    assert (settings.port, settings.queue, settings.threads, settings.grace) == (3, 2, 1, 30)
    assert settings.bundle == (tmp_path / "x.bundle",)
    told = {one.name: (one.value, one.source) for one in resolve_settings(file, port=3)}
    assert told["port"] == (3, "option")
    assert told["queue"] == (2, "PINNACE_QUEUE")
    assert told["threads"] == (1, str(file))
    assert told["grace"] == (30, "default")
    assert told["variant"] == (None, "default")
    assert told["api_key"] == ("**********", str(file))


def test_the_file_is_the_named_one_then_that_of_the_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("pinnace.toml").write_text("port = 4001")
    Path("other.toml").write_text("port = 4002")
    assert load_settings().port == 4001
    monkeypatch.setenv("PINNACE_CONFIG", "other.toml")
    assert load_settings().port == 4002
    assert load_settings(Path("pinnace.toml")).port == 4001


def test_the_workers_do_not_read_the_file_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    settings = load_settings()
    Path("pinnace.toml").write_text('variant = "onnx-int8"')
    for name, value in settings.environment().items():
        monkeypatch.setenv(name, value)
    assert load_settings().variant is None


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("prot = 1", "{} has an unknown setting: prot", "did you mean port?"),
        (
            "zebra = 1",
            "{} has an unknown setting: zebra",
            "pinnace serve --print-settings lists them",
        ),
        ("port = 0", "the setting port ({}) is not valid: it should be at least 1", None),
        ("[serve]\nport = 1", "{} has an unknown setting: serve", None),
    ],
)
def test_a_wrong_file_is_one_sentence(tmp_path: Path, text: str, message: str, hint: str | None) -> None:
    file = tmp_path / "wrong.toml"
    file.write_text(text)
    with pytest.raises(UsageError) as caught:
        load_settings(file)
    assert caught.value.message == message.format(file)
    if hint is not None:
        assert caught.value.hint == hint


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no settings file"):
        load_settings(tmp_path / "none.toml")


def test_a_wrong_option_is_named_as_it_was_given() -> None:
    with pytest.raises(UsageError) as caught:
        load_settings(workers="many")
    assert caught.value.message.startswith("the setting workers (--workers) is not valid: ")


def test_print_settings_shows_values_and_sources_but_no_secret(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PINNACE_API_KEY", "secret")
    assert run(["serve", "x.bundle", "--print-settings", "--port", "3005", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert list(shown) == list(ServerSettings.model_fields)
    assert shown["port"] == {"value": 3005, "source": "option"}
    assert shown["api_key"] == {"value": "**********", "source": "PINNACE_API_KEY"}
    assert run(["serve", "--print-settings"]) == 0
    text = capsys.readouterr().out
    assert "PINNACE_API_KEY" in text
    assert "secret" not in text


@pytest.mark.parametrize(
    ("settings", "cpus", "layout"),
    [
        ({}, 1, Layout(1, 1, 1, 1)),
        ({}, 2, Layout(2, 2, 1, 1)),
        ({}, 16, Layout(16, 2, 1, 1)),
        ({"threads": 2}, 4, Layout(2, 2, 2, 1)),
        ({"threads": 8}, 4, Layout(1, 1, 8, 1)),
        ({"workers": 1}, 2, Layout(1, 2, 1, 2, 2)),
        ({"workers": 1}, 8, Layout(1, 8, 1, 8, 8)),
        ({"workers": 2}, 4, Layout(2, 2, 1, 2, 2)),
        ({"workers": 8}, 4, Layout(8, 2, 1, 1)),
        ({"concurrency": 1}, 4, Layout(4, 1, 1, 1)),
        ({"workers": 1, "concurrency": 1}, 4, Layout(1, 1, 1, 1)),
        ({"max_batch": 4}, 2, Layout(2, 4, 1, 4, 1)),
        ({"workers": 1, "max_batch": 4}, 2, Layout(1, 4, 1, 4, 2)),
        ({"concurrency": 8, "max_batch": 4}, 2, Layout(1, 8, 1, 8, 2)),
        ({"device": "cuda"}, 16, Layout(1, 16, 1, 16, 16)),
    ],
)
def test_the_layout(settings: dict[str, object], cpus: int, layout: Layout) -> None:
    assert plan(load_settings(**settings), cpus) == layout


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        ("a.bundle:b.bundle", ("a.bundle", "b.bundle")),
        ("a.bundle:", ("a.bundle",)),
        ('["odd:name.bundle", "b.bundle"]', ("odd:name.bundle", "b.bundle")),
    ],
)
def test_several_bundles_stand_in_one_variable(
    monkeypatch: pytest.MonkeyPatch, text: str, paths: tuple[str, ...]
) -> None:
    monkeypatch.setenv("PINNACE_BUNDLE", text)
    settings = load_settings()
    assert settings.bundle == tuple(map(Path, paths))
    monkeypatch.setenv("PINNACE_BUNDLE", settings.environment()["PINNACE_BUNDLE"])
    assert load_settings().bundle == tuple(Path(path).absolute() for path in paths)


def test_several_bundles_stand_in_the_file_as_a_list(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('bundle = ["a.bundle", "b:c.bundle"]\n')
    assert load_settings(file).bundle == (tmp_path / "a.bundle", tmp_path / "b:c.bundle")


@pytest.mark.parametrize("text", [":", "[]", "["])
def test_no_bundle_at_all_is_one_sentence(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("PINNACE_BUNDLE", text)
    with pytest.raises(UsageError, match="the setting bundle \\(PINNACE_BUNDLE\\) is not valid: "):
        load_settings()
