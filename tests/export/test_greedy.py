"""An exported model goes on with a prompt token for token as `pippin sample --temperature 0` does."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pippin.export.to_hf import export_hf
from pippin.train.sample import Sampling, open_sampler

pytestmark = pytest.mark.reference
PROMPT = "It's the apple's year"


@pytest.mark.parametrize("family", ["llama-untied-stretched", "qwen3-moe"])
def test_the_same_tokens_as_pippin_sample(
    torch: Any, transformers: Any, runs: Callable[[str], Path], tmp_path: Path, family: str
) -> None:
    export_hf(runs(family), tmp_path / "hf", max_shard_bytes=9_000)
    sampler = open_sampler(runs(family))
    num_tokens = 24  # all within the sequence length of the run
    ours = list(sampler.tokens(PROMPT, Sampling(max_tokens=num_tokens, temperature=0)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "hf").eval()
        tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "hf")
        prompt = tokenizer(PROMPT, return_tensors="pt")
        ids = model.generate(**prompt, max_new_tokens=num_tokens, do_sample=False)[0].tolist()
    assert model.dtype == torch.float32
    theirs = ids[prompt["input_ids"].shape[1] :]
    assert theirs == ours + [0] * (len(ours) < num_tokens)  # transformers keeps the boundary that ends a text
    assert len(set(ours)) > 5  # not one token again and again
    text = "".join(sampler.stream(PROMPT, Sampling(max_tokens=num_tokens, temperature=0)))
    assert tokenizer.decode(ours).startswith(text)
