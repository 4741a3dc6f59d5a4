"""The report's sections of what ran: the chip and the workload."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from pippin.assay.findings import Findings, Unknown
from pippin.devices import Option
from pippin.models.counts import num_embedding_parameters, num_parameters


def chip_section(found: Findings, unknown: Unknown) -> dict[str, Any]:
    chip, known, rules = found.machine.chip, found.machine.known, found.machine.rules
    fields: dict[str, Any] = {
        name: unknown.known(
            f"chip.{name}", getattr(chip, name), chip.unknown.get(name, "the system does not say")
        )
        for name in ("name", "platform", "device_kind", "cores", "physical_cores", "simd", "memory_bytes")
    }
    return fields | {
        "num_devices": chip.num_devices,
        "catalog_id": unknown.known(
            "chip.catalog_id", known and known.chip_id, f"the catalog has no entry for {chip.device_kind}"
        ),
        "unit": found.machine.unit,
        "rules": {
            "rule_name": rules.rule_name,
            **asdict(found.machine.choices),
            "prng": rules.prng,
            "compiler_options": _listed(found.machine.compiler_options),
            "why": rules.why,
        },
    }


def _listed(options: Mapping[str, Option]) -> str:
    return " ".join(f"{name}={json.dumps(value)}" for name, value in options.items()) or "none"


def workload_section(found: Findings) -> dict[str, Any]:
    shape, train, manifest = found.job.shape, found.job.train, found.dataset.manifest
    return {
        "preset": found.preset,
        "preset_reason": found.preset_reason,
        "num_parameters": num_parameters(shape),
        "num_embedding_parameters": num_embedding_parameters(shape),
        "sequence_length": train.sequence_length,
        "batch_size": train.batch_size,
        "num_layers": shape.num_layers,
        "d_model": shape.d_model,
        "vocab_size": shape.vocab_size,
        "corpus": manifest.name,
        "corpus_licence": manifest.licence,
        "corpus_source": manifest.source,
        "train_tokens_available": manifest.splits.train.tokens,
        "epochs": found.account.tokens / manifest.splits.train.tokens,
    }
