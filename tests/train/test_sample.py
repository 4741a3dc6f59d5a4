from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pippin.train.sample
from pippin.data.tokenizer import encode
from pippin.errors import PippinError
from pippin.models import decoder
from pippin.models.parameters import initial_parameters
from pippin.train.sample import Sampler, Sampling, draw, open_sampler

LOGITS = st.lists(st.floats(-20, 20), min_size=1, max_size=40).map(lambda values: np.float32(values))


@pytest.fixture(scope="module")
def sampler(finished: Any) -> Sampler:
    return open_sampler(finished.folder)


@pytest.fixture(scope="module")
def wild(bench: Any, sampler: Sampler) -> Sampler:
    """Parameters so large that every token changes what is likeliest next."""
    parameters = jax.tree.map(
        lambda leaf: jax.numpy.asarray(4 * leaf), initial_parameters(bench.job().shape, seed=5)
    )
    return dataclasses.replace(sampler, parameters=parameters)


def text(sampler: Sampler, prompt: str, **options: Any) -> str:
    return "".join(sampler.stream(prompt, Sampling(**options)))


def feed(monkeypatch: pytest.MonkeyPatch, ids: list[int]) -> list[np.ndarray]:
    """Lets the model say `ids`, one after the other; returns the scores it would have drawn from."""
    coming, seen = iter(ids), []

    def scripted(logits: np.ndarray, *_: Any) -> int:
        seen.append(logits)
        return next(coming)

    monkeypatch.setattr(pippin.train.sample, "draw", scripted)
    return seen


@given(LOGITS)
def test_temperature_0_takes_the_likeliest(logits: np.ndarray) -> None:
    assert draw(logits, Sampling(temperature=0), np.random.default_rng(0)) == int(np.argmax(logits))


@settings(deadline=None)
@given(LOGITS, st.floats(0.05, 3), st.floats(0.01, 1), st.integers(0, 2**32))
def test_top_p_keeps_the_fewest_likeliest_that_reach_it(
    logits: np.ndarray, temperature: float, top_p: float, seed: int
) -> None:
    """Whatever is drawn, the tokens likelier than it have less than `top_p` together."""
    scaled = logits.astype(np.float64) / temperature
    probabilities = np.exp(scaled - scaled.max())
    probabilities /= probabilities.sum()
    sampling, generator = Sampling(temperature=temperature, top_p=top_p), np.random.default_rng(seed)
    for drawn in {draw(logits, sampling, generator) for _ in range(20)}:
        assert probabilities[probabilities > probabilities[drawn]].sum() < top_p + 1e-9


@pytest.mark.parametrize(
    ("top_p", "kept"),
    [(0.4, {2}), (0.5, {2}), (0.51, {2, 0}), (0.8, {2, 0}), (0.81, {2, 0, 3}), (1.0, {0, 1, 2, 3})],
)
def test_top_p_keeps_exactly_these(top_p: float, kept: set[int]) -> None:
    logits = np.log(np.array([0.3, 0.05, 0.5, 0.15]))
    generator = np.random.default_rng(0)
    assert {draw(logits, Sampling(temperature=1, top_p=top_p), generator) for _ in range(400)} == kept


def test_draws_follow_the_probabilities() -> None:
    logits, generator = np.log(np.array([0.6, 0.3, 0.1])), np.random.default_rng(1)

    def shares(temperature: float, top_p: float) -> np.ndarray:
        sampling = Sampling(temperature=temperature, top_p=top_p)
        drawn = [draw(logits, sampling, generator) for _ in range(4000)]
        return np.bincount(drawn, minlength=3) / 4000

    np.testing.assert_allclose(shares(1.0, 1.0), [0.6, 0.3, 0.1], atol=0.04)
    np.testing.assert_allclose(shares(1.0, 0.85), [2 / 3, 1 / 3, 0], atol=0.04)
    np.testing.assert_allclose(shares(0.5, 1.0), np.array([0.36, 0.09, 0.01]) / 0.46, atol=0.04)


def test_temperature_0_is_the_chain_of_argmaxes(bench: Any, wild: Sampler) -> None:
    """Against the decoder that training uses, on the whole sequence each time."""
    parameters, shape = wild.parameters, bench.job().shape
    forward = jax.jit(
        lambda tokens: decoder.logits(
            parameters,
            decoder.hidden_states(parameters, tokens, tokens * 0, shape),
        )
    )
    tokens = [0, *encode(wild.tokenizer, "an apple").tolist()]
    begun = len(tokens)
    while len(tokens) < 32:
        padded = np.zeros((1, 32), np.int32)
        padded[0, : len(tokens)] = tokens
        tokens.append(int(np.asarray(forward(padded))[0, len(tokens) - 1].argmax()))
    wanted = wild.tokenizer.decode(tokens[begun:], skip_special_tokens=False).rstrip(
        "\N{REPLACEMENT CHARACTER}"
    )
    assert text(wild, "an apple", temperature=0, max_tokens=32 - begun) == wanted
    assert 0 not in tokens[begun:] and len(set(tokens[begun:])) > 10  # no loop, no end: a real chain


def test_a_seed_draws_the_same_text_and_another_seed_another(sampler: Sampler) -> None:
    once, again, other = (text(sampler, "the", max_tokens=30, seed=seed) for seed in (7, 7, 8))
    assert once == again != other


def test_the_prompt_is_what_it_goes_on_from(wild: Sampler) -> None:
    prompts = ("rain", "1790 an", "", "an apple seed grows " * 10)  # the last is longer than a sequence
    assert len({text(wild, prompt, temperature=0, max_tokens=8) for prompt in prompts}) == 4


@pytest.mark.parametrize("said", ["雨 and 🍎", "naïve café", "e\N{COMBINING ACUTE ACCENT}é"])
def test_characters_of_several_tokens_come_whole(
    sampler: Sampler, monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    ids = [encode(sampler.tokenizer, character).tolist() for character in said]
    assert max(map(len, ids)) > 1  # else this would prove nothing
    flat = [token for some in ids for token in some]
    feed(monkeypatch, flat)
    pieces = list(sampler.stream("the", Sampling(max_tokens=len(flat))))
    assert "".join(pieces) == said
    assert len(pieces) == len(said)  # each as soon as it is whole


def test_the_replacement_character_itself_is_kept(sampler: Sampler, monkeypatch: pytest.MonkeyPatch) -> None:
    said = "a\N{REPLACEMENT CHARACTER}b"
    ids = encode(sampler.tokenizer, said).tolist()
    feed(monkeypatch, ids)
    assert text(sampler, "the", max_tokens=len(ids)) == said


def test_half_a_character_at_the_end_is_left_out(sampler: Sampler, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = [*encode(sampler.tokenizer, "ok").tolist(), *encode(sampler.tokenizer, "🍎").tolist()[:-1]]
    feed(monkeypatch, ids)
    assert text(sampler, "the", max_tokens=len(ids)) == "ok"


def test_it_stops_at_the_end_of_a_document(sampler: Sampler, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = encode(sampler.tokenizer, "an").tolist()
    feed(monkeypatch, [*ids, 0, *ids])
    assert text(sampler, "the", max_tokens=50) == "an"


def test_it_draws_as_many_tokens_as_asked_from_known_ones_only(
    sampler: Sampler, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = feed(monkeypatch, [70] * 5)
    text(sampler, "an apple", max_tokens=5)
    assert len(seen) == 5
    assert {len(scores) for scores in seen} == {sampler.tokenizer.get_vocab_size()}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_tokens": 0}, "--max-tokens: 0"),
        ({"temperature": -0.5}, "--temperature: -0.5"),
        ({"temperature": float("nan")}, "--temperature: nan"),
        ({"temperature": float("inf")}, "--temperature: inf"),
        ({"top_p": 0.0}, "--top-p: 0.0"),
        ({"top_p": 1.5}, "--top-p: 1.5"),
        ({"top_p": float("nan")}, "--top-p: nan"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(PippinError, match=message):
        Sampling(**options)


def test_it_reads_the_newest_checkpoint(bench: Any, sampler: Sampler, tmp_path: Path) -> None:
    bench.stop_at(tmp_path / "run", 3)
    early = open_sampler(tmp_path / "run")
    assert (np.asarray(early.parameters["embedding"]) != np.asarray(sampler.parameters["embedding"])).any()
    bench.train(tmp_path / "run")
    late = open_sampler(tmp_path / "run")
    assert (np.asarray(late.parameters["embedding"]) == np.asarray(sampler.parameters["embedding"])).all()


def test_a_folder_without_a_run_or_a_checkpoint_is_refused(bench: Any, finished: Any, tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "missing", finished.folder / "job.toml"):
        with pytest.raises(PippinError, match="no run in this folder"):
            open_sampler(folder)
    shutil.copytree(finished.folder, tmp_path / "run", ignore=shutil.ignore_patterns("checkpoints"))
    with pytest.raises(PippinError, match="nothing saved yet"):
        open_sampler(tmp_path / "run")


def test_a_damaged_checkpoint_is_refused(finished: Any, tmp_path: Path) -> None:
    run = Path(shutil.copytree(finished.folder, tmp_path / "run"))
    (run / "checkpoints" / "step_000000024" / "checkpoint.json").write_text("{}")
    with pytest.raises(PippinError, match=r"step_000000024: its checkpoint\.json cannot be read"):
        open_sampler(run)
