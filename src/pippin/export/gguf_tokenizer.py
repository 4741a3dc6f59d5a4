"""The byte-level BPE that a GGUF file describes, as a tokenizer of the `tokenizers` library."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers

from pippin.errors import PippinError

# How text is cut before it is merged, by the name in `tokenizer.ggml.pre` (llama.cpp, src/llama-vocab.cpp)
# and as the `tokenizer.json` of these models has it.
_LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_QWEN2 = _LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
_PATTERNS = {"llama-bpe": _LLAMA3, "llama3": _LLAMA3, "qwen2": _QWEN2}
_GPT2 = ("gpt-2", "default")
_GPT2_WITH_DIGITS = ("smollm",)  # each digit by itself first
KINDS = (*_PATTERNS, *_GPT2, *_GPT2_WITH_DIGITS)

_CONTROL, _USER_DEFINED = 3, 4  # llama.cpp's token types


def gguf_tokenizer(get: Callable[[str], Any], where: Path) -> tuple[Tokenizer, dict[str, str | None]]:
    """Builds the tokenizer, and what the file says of its tokens (see `tokenizer_files`).

    Args:
        get: gives the value of a metadata key, None where there is none.
        where: for the error.

    Raises:
        PippinError: another kind of tokenizer or of pre-tokenizer, or tokens and merges that do not fit.
    """
    kind, pre = get("tokenizer.ggml.model"), get("tokenizer.ggml.pre") or "default"
    if kind != "gpt2":
        what = f"its tokenizer is of kind {kind!r}"
        raise PippinError(what, where=where, fix="Pippin reads byte-level BPE ('gpt2') only")
    if pre not in KINDS:
        what = f"its text is cut by {pre!r}, which Pippin does not know"
        raise PippinError(what, where=where, fix=f"known: {', '.join(KINDS)}")
    tokens, types = get("tokenizer.ggml.tokens"), get("tokenizer.ggml.token_type")
    merges = get("tokenizer.ggml.merges")
    if not tokens or not merges or (types and len(types) != len(tokens)):
        raise PippinError("tokens or merges are missing", where=where, fix="fetch it whole")
    tokenizer = _build(tokens, merges, pre, where)
    _add(tokenizer, tokens, types or [1] * len(tokens))
    return tokenizer, _hints(get, tokens)


def _build(tokens: list[str], merges: list[str], pre: str, where: Path) -> Tokenizer:
    vocabulary = {token: index for index, token in enumerate(tokens)}
    halves = [merge.partition(" ") for merge in merges]
    pairs = [(left, right) for left, _, right in halves]
    try:
        # Llama 3 takes a word that is a token as it is, even where no merges lead to it.
        model = models.BPE(vocabulary, pairs, ignore_merges=pre in ("llama-bpe", "llama3"))
    except Exception as error:  # The library raises bare Exception.
        raise PippinError(f"its tokens and merges do not fit: {error}", where=where) from error
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = _pre_tokenizer(pre)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _pre_tokenizer(pre: str) -> Any:
    if pre in _GPT2:
        return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    if pre in _GPT2_WITH_DIGITS:
        first: Any = pre_tokenizers.Digits(individual_digits=True)
    else:
        first = pre_tokenizers.Split(Regex(_PATTERNS[pre]), behavior="isolated")
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=pre in _GPT2_WITH_DIGITS)
    return pre_tokenizers.Sequence([first, byte_level])


def _add(tokenizer: Tokenizer, tokens: list[str], types: list[int]) -> None:
    """Tokens that stand for themselves, not for bytes, in the order of their ids, which they keep."""
    for token, kind in zip(tokens, types, strict=True):
        added = AddedToken(token, special=kind == _CONTROL, normalized=False)
        if kind == _CONTROL:
            tokenizer.add_special_tokens([added])
        elif kind == _USER_DEFINED:
            tokenizer.add_tokens([added])


def _hints(get: Callable[[str], Any], tokens: list[str]) -> dict[str, str | None]:
    def name(key: str) -> str | None:
        index = get(f"tokenizer.ggml.{key}_token_id")
        return tokens[index] if index is not None and index < len(tokens) else None

    return {"bos": name("bos") if get("tokenizer.ggml.add_bos_token") else None, "eos": name("eos")}
