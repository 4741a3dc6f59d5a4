"""The model card: what the model is, what it was trained on, and what was verified of this copy."""

from __future__ import annotations

import json
from dataclasses import dataclass

from pippin.export.hf_config import family_of
from pippin.export.provenance import Provenance
from pippin.models.counts import num_parameters
from pippin.train.saved import Saved


@dataclass(frozen=True)
class Verification:
    """What transformers said of an export.

    Attributes:
        versions: of transformers and PyTorch.
        num_logits: how many were compared.
        max_difference: the largest difference between a logit of theirs and ours.
        max_logit: the largest of theirs, without its sign.
    """

    versions: str
    num_logits: int
    max_difference: float
    max_logit: float

    def __str__(self) -> str:
        return (
            f"{self.num_logits:,} logits agree with those of {self.versions} within "
            f"{self.max_difference:.1e} (the largest is {self.max_logit:.1f}), and the token ids are equal"
        )


def model_card(
    saved: Saved, about: Provenance, dtype: str, verification: Verification | None, name: str
) -> str:
    """The text of `README.md`."""
    shape = saved.job.shape
    rows = {
        "class": family_of(shape).architecture,
        "parameters": f"{num_parameters(shape):,}, {dtype}",
        "steps": f"{about.step:,}",
        "tokens": f"{about.tokens:,}",
        "sequence length": f"{saved.job.train.sequence_length:,}",
        "held-out bits per byte": _bits(about),
        "job": f"`{about.job_hash}`",
        "parameters' digest": f"`{about.parameter_sha256}`",
    }
    table = "\n".join(f"| {key} | {value} |" for key, value in rows.items())
    return "\n".join(
        [
            _front_matter(about),
            f"# {name}\n",
            "Pretrained and exported with Pippin; `pippin.json` has the hash of every file.\n",
            f"| | |\n| --- | --- |\n{table}\n",
            "## Data and licences\n",
            *_licences(about),
            "",
            "Pippin states no licence for the weights: see those of the data and of what it began with.\n",
            "## Verified\n",
            f"{verification}." if verification else _NOT_VERIFIED,
            "",
            "Neither vLLM nor MLX was run; the folder has the layout that they read.\n",
            "## Use\n",
            "A text begins with the boundary token, which the tokenizer puts there by itself.\n",
            _USE,
        ]
    )


_NOT_VERIFIED = "Nothing: this copy was written without `--verify`."
_USE = """```python
from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained(".")
tokenizer = AutoTokenizer.from_pretrained(".")
ids = model.generate(**tokenizer("The state of", return_tensors="pt"), max_new_tokens=40, do_sample=False)
print(tokenizer.decode(ids[0], skip_special_tokens=True))
```
"""


def _front_matter(about: Provenance) -> str:
    """The licence of others' weights stays theirs where nothing was trained on top; else it is not ours to
    name in one word."""
    licences = {origin.get("licence") for origin in about.origins}
    licence = licences.pop() if len(licences) == 1 and not about.step else None
    lines = ["library_name: transformers", "pipeline_tag: text-generation", "tags: [pippin]"]
    if licence:
        lines.append(f"license: {json.dumps(licence)}")
    else:
        lines += ["license: other", "license_name: see-data-and-licences"]
    return "\n".join(["---", *lines, "---", ""])


def _bits(about: Provenance) -> str:
    value = about.held_out_bits_per_byte
    return "not measured at this step" if value is None else f"{value:.4f}"


def _licences(about: Provenance) -> list[str]:
    lines = []
    for origin in about.origins:
        name = origin.get("name") or origin.get("source")
        corpus = f", trained on `{origin['corpus']}`" if origin.get("corpus") else ""
        lines.append(f"- Started from {name}{corpus}: {origin.get('licence') or 'licence not known'}.")
    if about.data:
        data = about.data
        lines.append(f"- Trained on `{data['corpus']}`: {data['licence']}. Source: {data['source']}.")
    return lines or ["- Not known: the run's folder does not say."]
