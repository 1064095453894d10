"""Base models: the built-in one, folders in the form of transformers, and errors that say what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from bem_core.config import experiment_from_mapping, load_experiment_config
from bem_core.errors import BemError
from bem_core.models import ByteTokenizer, TinyConfig, TinyDecoder, load_base_model, load_tokenizer

SMALL = {"hidden_size": 16, "num_layers": 2, "num_attention_heads": 2, "context_length": 12}


def model_of(**model: Any) -> Any:
    return load_base_model(experiment_from_mapping({"model": model}))


@pytest.fixture
def model() -> TinyDecoder:
    torch.manual_seed(0)
    return TinyDecoder(TinyConfig(hidden_size=16, num_layers=2, num_attention_heads=2, context_length=12)).eval()


def test_tiny_takes_the_sizes_of_the_experiment() -> None:
    model = model_of(base_model="tiny", vocab_size=50, intermediate_size=24, **SMALL)
    names = dict(model.named_modules())
    assert names["layers.1.mlp.w_down"].weight.shape == (16, 24)
    assert names["layers.0.attention.w_o"].weight.shape == (16, 16)
    out = model(torch.randint(50, (3, 12)), output_hidden_states=True, output_attentions=True)
    assert out.logits.shape == (3, 12, 50)
    assert [tuple(one.shape) for one in out.hidden_states] == [(3, 12, 16)] * 3
    assert [tuple(one.shape) for one in out.attentions] == [(3, 2, 12, 12)] * 2


def test_no_token_sees_what_follows_it(model: TinyDecoder) -> None:
    ids = torch.randint(259, (2, 12))
    other = ids.clone()
    other[:, 7:] = (other[:, 7:] + 1) % 259
    torch.testing.assert_close(model(ids).logits[:, :7], model(other).logits[:, :7])
    assert not torch.allclose(model(ids).logits[:, 7:], model(other).logits[:, 7:])


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_changes_no_other_token(model: TinyDecoder, side: str) -> None:
    ids = torch.randint(256, (1, 12))
    mask = torch.ones(1, 12, dtype=torch.long)
    hidden = slice(0, 3) if side == "left" else slice(9, 12)
    mask[:, hidden] = 0
    other = ids.clone()
    other[:, hidden] = 258
    kept = mask[0].bool()
    torch.testing.assert_close(model(ids, mask).logits[:, kept], model(other, mask).logits[:, kept])
    assert model(ids, mask).logits.isfinite().all()


def test_asking_for_weights_changes_no_logits(model: TinyDecoder) -> None:
    ids = torch.randint(259, (2, 9))
    out = model(ids, output_attentions=True)
    torch.testing.assert_close(out.logits, model(ids).logits)
    torch.testing.assert_close(out.attentions[0].sum(-1), torch.ones(2, 2, 9))


def test_loss_is_that_of_the_next_token(model: TinyDecoder) -> None:
    ids = torch.randint(256, (2, 6))
    labels = ids.clone()
    labels[0, 3:] = -100
    out = model(ids, labels=labels)
    logs = out.logits.log_softmax(-1)
    terms = [-logs[0, at, ids[0, at + 1]] for at in range(2)] + [-logs[1, at, ids[1, at + 1]] for at in range(5)]
    torch.testing.assert_close(out.loss, torch.stack(terms).mean())


def test_bytes_come_back() -> None:
    tokens = ByteTokenizer()
    text = "na\u00efve \u2603 text\n"
    assert tokens.decode(tokens.encode(text)) == text
    assert tokens.encode("a") == [256, 97, 257]
    assert tokens.decode([256, 97, 257, 258], skip_special_tokens=False) == "<bos>a<eos><pad>"
    assert max(tokens.encode(text)) < tokens.vocab_size


ERRORS = {
    "heads": ({"base_model": "tiny", "hidden_size": 10, "num_attention_heads": 4}, ["model.hidden_size", "multiple"]),
    "folder": ({"base_model": "./nowhere"}, ["model.base_model", "no folder ./nowhere"]),
    "path": ({"model_path": "/nowhere/at/all"}, ["model.model_path", "no folder /nowhere/at/all"]),
}


@pytest.mark.parametrize(("model", "parts"), ERRORS.values(), ids=ERRORS)
def test_errors_name_the_key(model: dict[str, Any], parts: list[str]) -> None:
    with pytest.raises(BemError) as error:
        model_of(**model)
    assert all(part in str(error.value) for part in parts), error.value


def test_error_names_file_and_line(tmp_path: Path) -> None:
    file = tmp_path / "one.yml"
    file.write_text("model:\n  base_model: tiny\n  hidden_size: 10\n  num_attention_heads: 4\n")
    with pytest.raises(BemError, match=r"one\.yml:3:\d+: model\.hidden_size"):
        load_base_model(load_experiment_config(file))


class TestTransformers:
    """Models that `transformers` loads, made here: there is no network."""

    @pytest.fixture(autouse=True)
    def _offline(self, monkeypatch: pytest.MonkeyPatch) -> None:
        pytest.importorskip("transformers")
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        import transformers

        torch.manual_seed(1)
        sizes = {"n_embd": 16, "n_layer": 2, "n_head": 2, "vocab_size": 40, "n_positions": 12}
        transformers.GPT2LMHeadModel(transformers.GPT2Config(**sizes)).save_pretrained(tmp_path / "gpt")
        return tmp_path / "gpt"

    def test_folder(self, folder: Path) -> None:
        model = model_of(base_model=str(folder), hidden_size=16).eval()
        out = model(torch.randint(40, (2, 5)), output_hidden_states=True)
        assert out.logits.shape == (2, 5, 40)
        assert out.hidden_states[-1].shape == (2, 5, 16)

    def test_sizes_that_are_not_those_of_the_model(self, folder: Path) -> None:
        with pytest.raises(BemError, match=r"model\.hidden_size: expected 16, as the model has, found 32"):
            model_of(base_model=str(folder), hidden_size=32)

    def test_folder_that_holds_no_model(self, tmp_path: Path) -> None:
        with pytest.raises(BemError, match=r"model\.base_model: the folder .* holds no model"):
            model_of(base_model=str(tmp_path))

    def test_hub_without_network_says_what_to_do(self) -> None:
        with pytest.raises(BemError) as error:
            model_of(base_model="sshleifer/tiny-gpt2-that-is-not-here")
        assert "model.base_model" in str(error.value)
        assert "hf download" in str(error.value)
        assert "base_model: tiny" in str(error.value)

    def test_tokenizer_of_a_folder(self, tmp_path: Path) -> None:
        import tokenizers
        import transformers

        words = {"<unk>": 0, "a": 1, "b": 2}
        model = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, "<unk>"))
        model.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
        fast = transformers.PreTrainedTokenizerFast(tokenizer_object=model, unk_token="<unk>", eos_token="<unk>")
        fast.save_pretrained(tmp_path)
        found = load_tokenizer(experiment_from_mapping({"model": {"tokenizer": str(tmp_path)}}))
        assert found.encode("a b a") == [1, 2, 1]
        assert found.pad_token_id == 0
