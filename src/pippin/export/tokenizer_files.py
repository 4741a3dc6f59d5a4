"""Tokenizers in and out: the boundary that starts a document is written into the tokenizer's own file.

Pippin puts a boundary token before every text. Others do so when the post-processor in `tokenizer.json`
says it; with that in the file, both give the same ids, and `data.tokenizer.boundary_id` finds it again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, processors

from pippin.data.tokenizer import BOUNDARY, boundary_id, parse_tokenizer
from pippin.errors import PippinError, nearest

# Names of tokens that end or part documents in pretraining, the likeliest first.
_DOCUMENT_ENDS = (BOUNDARY, "<|endoftext|>", "<|end_of_text|>")


def with_boundary(tokenizer: Tokenizer, token: str) -> bytes:
    """The tokenizer's JSON with `token` put before every text, and nothing cut or padded."""
    changed = Tokenizer.from_str(tokenizer.to_str())
    changed.no_truncation()
    changed.no_padding()
    changed.add_special_tokens([AddedToken(token, special=True, normalized=False)])
    changed.post_processor = processors.TemplateProcessing(
        single=[token, "$A"],
        pair=[token, "$A", token, "$B:1"],
        special_tokens=[(token, changed.token_to_id(token))],
    )
    return str(changed.to_str()).encode()


def hf_tokenizer_files(tokenizer: Tokenizer, max_positions: int) -> dict[str, bytes]:
    """The files from which `AutoTokenizer` makes a tokenizer that gives Pippin's ids.

    `split_special_tokens`: a boundary written out in a text is ordinary characters, as in Pippin.
    """
    token = str(tokenizer.id_to_token(boundary_id(tokenizer)))
    named = {"bos_token": token, "eos_token": token, "pad_token": token}
    config = named | {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": max_positions,
        "clean_up_tokenization_spaces": False,
        "split_special_tokens": True,
        "add_prefix_space": False,
        "added_tokens_decoder": {
            str(index): {"content": added.content, "special": added.special, "normalized": False}
            for index, added in sorted(tokenizer.get_added_tokens_decoder().items())
        },
    }
    return {
        "tokenizer.json": with_boundary(tokenizer, token),
        "tokenizer_config.json": _json(config),
        "special_tokens_map.json": _json(named),
    }


def imported_tokenizer(
    tokenizer: Tokenizer, hints: Mapping[str, str | None], wanted: str | None, where: Path
) -> tuple[bytes, dict[str, Any]]:
    """A tokenizer of others made ours.

    Args:
        tokenizer: as it came.
        hints: `bos` where it says that it puts one before a text, `eos` where it has one.
        wanted: the boundary that the user chose.
        where: for the error.

    Returns:
        `tokenizer.json`, and which token is the boundary and why.

    Raises:
        PippinError: not byte-level, or no token can be the boundary.
    """
    token, why = _choose(tokenizer, hints, wanted, where)
    raw = with_boundary(tokenizer, token)
    index = boundary_id(parse_tokenizer(raw, where))
    return raw, {"token": token, "id": index, "why": why}


def _choose(
    tokenizer: Tokenizer, hints: Mapping[str, str | None], wanted: str | None, where: Path
) -> tuple[str, str]:
    if wanted is not None:
        if tokenizer.token_to_id(wanted) is None:
            known = [added.content for added in tokenizer.get_added_tokens_decoder().values()]
            close = nearest(wanted, known)
            fix = f"did you mean '{close}'?" if close else f"special tokens: {', '.join(known[:8])}"
            raise PippinError(f"the tokenizer has no token '{wanted}'", where="--boundary", fix=fix)
        return wanted, "as asked for"
    if bos := _put_before(tokenizer) or hints.get("bos"):
        return bos, "the tokenizer puts it before a text"
    for name in _DOCUMENT_ENDS:
        if tokenizer.token_to_id(name) is not None:
            return name, "by its name it parts documents"
    if eos := hints.get("eos"):
        return eos, "it ends a text"
    raise PippinError(
        "nothing says which token parts documents", where=where, fix="name it: --boundary '<|endoftext|>'"
    )


def _put_before(tokenizer: Tokenizer) -> str | None:
    with_special = tokenizer.encode("a", add_special_tokens=True).ids
    without = tokenizer.encode("a", add_special_tokens=False).ids
    if len(with_special) > len(without) and with_special[:1] != without[:1]:
        return str(tokenizer.id_to_token(with_special[0]))
    return None


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()
