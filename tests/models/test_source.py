"""Source strings: read, and printed back to the same string."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pinnace.models.errors import UsageError
from pinnace.models.loaders import parse_source
from pinnace.models.loaders.hub import is_local
from pinnace.models.source import Source

FORMS = {
    "efficientnet_lite0": Source("catalogue", "efficientnet_lite0"),
    "torchvision:resnet50": Source("torchvision", "resnet50"),
    "torchvision:resnet50@IMAGENET1K_V2": Source("torchvision", "resnet50", ref="IMAGENET1K_V2"),
    "torchvision:alexnet@none": Source("torchvision", "alexnet", ref="none"),
    "timm:mobilenetv3_small_100": Source("timm", "mobilenetv3_small_100"),
    "timm:resnet18.a1_in1k": Source("timm", "resnet18.a1_in1k"),
    "timm:resnet18@none": Source("timm", "resnet18", ref="none"),
    "timm:hf-hub:timm/resnet18@main": Source("timm", "hf-hub:timm/resnet18@main"),
    "darknet:yolov3-tiny@none": Source("darknet", "yolov3-tiny", ref="none"),
    "darknet:yolov3@runs/my@best.weights": Source("darknet", "yolov3", ref="runs/my@best.weights"),
    "hub:owner/repo#entry": Source("hub", "owner/repo", entry="entry"),
    "hub:owner/repo:v1.2#entry": Source("hub", "owner/repo", ref="v1.2", entry="entry"),
    "hub:owner/repo:feature/x#entry": Source("hub", "owner/repo", ref="feature/x", entry="entry"),
    "hub:./folder#entry": Source("hub", "./folder", entry="entry"),
    "hub:/data/a:b#c#entry": Source("hub", "/data/a:b#c", entry="entry"),
    "hub:~/nets#entry": Source("hub", "~/nets", entry="entry"),
    "file:weights.pt": Source("file", "weights.pt"),
    "file:/data/run:3/best@last#1.pt": Source("file", "/data/run:3/best@last#1.pt"),
}

words = st.text(st.characters(exclude_characters=":@#/", exclude_categories=["Cs"]), min_size=1)
names = words.filter(lambda name: not name.startswith((".", "/", "~")))
anything = st.text(min_size=1)
sources = st.one_of(
    st.builds(Source, st.just("catalogue"), words),
    st.builds(Source, st.just("torchvision"), words, st.none() | anything),
    st.builds(Source, st.just("darknet"), words, st.none() | anything),
    st.builds(Source, st.just("timm"), words, st.none() | st.just("none")),
    st.builds(Source, st.just("file"), anything),
    st.builds(
        Source,
        st.just("hub"),
        st.builds("{}/{}".format, names, words),
        st.none() | anything,
        words,
    ),
    st.builds(Source, st.just("hub"), anything.map("./{}".format), st.none(), words),
)


@pytest.mark.parametrize(("text", "source"), FORMS.items(), ids=FORMS)
def test_every_form_is_read_and_printed_back(text: str, source: Source) -> None:
    assert parse_source(text) == source
    assert str(source) == text


@given(sources)
def test_what_is_printed_is_read_back(source: Source) -> None:
    assert parse_source(str(source)) == source


@given(
    st.text()
    | st.builds(
        "{}:{}".format, st.sampled_from(["torchvision", "darknet", "timm", "hub", "file", "x"]), st.text()
    )
)
@example("hub:./a#b#c")
def test_whatever_is_accepted_is_printed_back_unchanged(text: str) -> None:
    with contextlib.suppress(UsageError):
        assert str(parse_source(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "torchvision:",
        "torchvision:@none",
        "torchvision:resnet50@",
        "darknet:@none",
        "darknet:yolov3@",
        "timm:",
        "timm:@none",
        "file:",
        "catalogue:efficientnet_lite0",
        "hub:owner/repo",
        "hub:owner/repo#",
        "hub:#entry",
        "hub:repo#entry",
        "hub:owner/repo/more#entry",
        "hub:owner/repo:#entry",
        "https://example.org/net.pt",
    ],
)
def test_other_forms_are_refused_with_the_forms_there_are(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_source(text)
    assert str(caught.value) == (
        f"{text!r} is not a model source\n"
        "  expected: efficientnet_lite0; torchvision:resnet50[@WEIGHTS or @none]; "
        "darknet:yolov3@WEIGHTS or @none; timm:mobilenetv3_small_100[.TAG][@none]; "
        "hub:owner/repo[:ref]#entry or hub:./folder#entry; "
        "hf:./folder or hf:owner/name[@REVISION]; file:PATH; "
        "torchserve:ARCHIVE.mar or torchserve:FOLDER; mlflow:FOLDER; triton:FOLDER; bentoml:NAME[:VERSION]\n"
        "  help: `pinnace models` lists the catalogue"
    )


def test_a_kind_that_is_misspelt_is_proposed() -> None:
    with pytest.raises(UsageError, match="source\n  help: did you mean torchvision:resnet50"):
        parse_source("Torchvision:resnet50")


def test_a_hub_repository_in_a_folder_is_told_from_one_that_is_elsewhere() -> None:
    assert is_local(parse_source("hub:./nets#tiny").name)
    assert not is_local(parse_source("hub:owner/repo#tiny").name)
