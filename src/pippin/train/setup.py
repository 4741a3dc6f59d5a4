"""From a job to what the loop needs: the data, the chip, its rules, the compiled program."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax

from pippin.catalog import CatalogChip, Peak, Rules, find_chip, peak, select_rules
from pippin.data.batches import Batches
from pippin.data.dataset import Dataset
from pippin.data.shards import build
from pippin.devices import Chip, Option, compiler_options, detect, keep_freed_memory, use_compiler_options
from pippin.errors import PippinError
from pippin.job import Job
from pippin.models.attention import Use, choose_attention
from pippin.models.counts import training_flops_per_token
from pippin.parallel.degrees import resolve
from pippin.train.observer import Observer
from pippin.train.step import Choices


@dataclass(frozen=True)
class Machine:
    """The chip at hand, its entry and rated peak where the catalog knows it, and the rules that apply.

    `compiler_options` are those that this version of the compiler takes.
    """

    chip: Chip
    known: CatalogChip | None
    rules: Rules
    choices: Choices
    peak: Peak | None
    compiler_options: dict[str, Option]

    @property
    def peak_flops_per_second(self) -> float | None:
        """Rated dense peak of all devices together in the compute type, FLOP/s."""
        return self.peak.tflops * 1e12 * self.num_chips if self.peak else None

    @property
    def unit(self) -> str:
        """What rates are counted per; of a chip that the catalog does not know, a whole CPU or a device."""
        return self.known.unit if self.known else ("machine" if self.chip.platform == "cpu" else "device")

    @property
    def num_chips(self) -> int:
        """Devices that have a peak of their own: a CPU's, however many, share one machine."""
        return 1 if self.chip.platform == "cpu" else self.chip.num_devices


def find_machine(job: Job | None = None) -> Machine:
    """Detects the chip, picks its rules and sets this process up for it; the job's `[chip]` overrides them.

    Raises:
        PippinError: the job asks for what cannot be had there.
    """
    keep_freed_memory()
    # A step is waited for anyway; see `keep_freed_memory` for why it should run on this thread.
    jax.config.update("jax_cpu_enable_async_dispatch", False)
    chip = detect()
    rules = select_rules(
        chip.platform, chip.simd, chip.cores, chip.memory_bytes, device_kind=chip.device_kind
    )
    jax.config.update("jax_default_prng_impl", rules.prng)
    _set_compiler_options(job, rules)
    choices = choose(job, rules, chip.platform, chip.num_devices)
    known = find_chip(
        chip.device_kind, chip.platform, cores_per_device=chip.cores_per_device, variant=chip.variant
    )
    rated = peak(known, choices.compute_dtype) if known else None
    return Machine(chip, known, rules, choices, rated, compiler_options())


def _set_compiler_options(job: Job | None, rules: Rules) -> None:
    stated = job.chip.compiler_options if job else None
    refused = use_compiler_options(rules.compiler_options if stated is None else stated)
    if stated and refused:
        raise PippinError(
            f"'{refused[0]}' cannot be set: the compiler of JAX {version('jax')} does not know the option, or"
            " not this value, or XLA_FLAGS sets it",
            where="chip.compiler_options",
            fix="leave it out, or `--set chip.compiler_options={}`",
        )


def choose(job: Job | None, rules: Rules, platform: str, num_devices: int) -> Choices:
    """What the rules say for so many devices of a platform; the job's `[chip]` and `[mesh]` override them.

    Raises:
        PippinError: the job asks for an attention that cannot be had there.
    """
    wanted = job.chip if job else None
    compute_dtype = (wanted and wanted.compute_dtype) or rules.compute_dtype
    attention, reason = _attention(job, rules, platform, num_devices, compute_dtype)
    remat = (job and job.mesh.remat) or rules.remat
    return Choices(
        compute_dtype=compute_dtype,
        attention=attention,
        attention_reason=reason,
        scan_layers=rules.scan(remat) if wanted is None or wanted.scan_layers is None else wanted.scan_layers,
        remat=remat,
    )


def _attention(
    job: Job | None, rules: Rules, platform: str, num_devices: int, compute_dtype: str
) -> tuple[str, str]:
    """The attention backend, and why that one."""
    if job is None:
        return choose_attention("reference", Use(platform, compute_dtype, 0, 0, packed=True))
    use = attention_use(job, platform, num_devices, compute_dtype)
    if job.chip.attention:
        return choose_attention(job.chip.attention, use, stated=True)
    return choose_attention(rules.attention, use)


def attention_use(job: Job, platform: str, num_devices: int, compute_dtype: str) -> Use:
    """What the job asks of an attention backend."""
    # Batches are always packed: a row holds as many documents as fall into it.
    return Use(
        platform,
        compute_dtype,
        job.shape.head_dim,
        job.train.sequence_length,
        packed=True,
        devices=num_devices,
        sequence_parts=resolve(job.mesh, num_devices).context,
    )


def open_data(job: Job, observer: Observer, *, kept_tokenizer: Path | None = None) -> Dataset:
    """`build_data`, with a training split that holds a whole sequence.

    Raises:
        PippinError: see `build_data`, or the text is too short.
    """
    dataset = build_data(job, observer, kept_tokenizer=kept_tokenizer)
    training_batches(job, dataset)  # a text too short is found now, not after minutes of compiling
    return dataset


def build_data(job: Job, observer: Observer, *, kept_tokenizer: Path | None = None) -> Dataset:
    """Builds or reopens the job's token shards.

    Args:
        job: its `[data]` table; a job with initial values has the tokenizer that belongs to them, unless
            the table names another.
        observer: told what is being done.
        kept_tokenizer: the copy in a run's folder, where it has been made: the other run may be gone.

    Raises:
        PippinError: no such corpus, nothing in it, or the tokenizer knows more tokens than the model.
    """
    data = job.data
    dataset = build(
        data.corpus,
        vocab_size=data.vocab_size,
        validation_fraction=data.validation_fraction,
        tokenizer_path=data.tokenizer or _tokenizer_of_initial(job, kept_tokenizer),
        progress=observer.phase,
    )
    if dataset.vocab_size > job.shape.vocab_size:
        raise PippinError(
            f"{job.shape.vocab_size} is smaller than the tokenizer's {dataset.vocab_size} tokens",
            where="model.vocab_size",
            fix=f"leave it out, or set at least {dataset.vocab_size}",
        )
    return dataset


def _tokenizer_of_initial(job: Job, kept: Path | None) -> str | None:
    if job.initial is None:
        return None
    return str(kept if kept and kept.exists() else job.initial.folder / "tokenizer.json")


def training_batches(job: Job, dataset: Dataset) -> Batches:
    """The batches that the job trains on.

    Raises:
        PippinError: the training split has no whole sequence.
    """
    table = job.train
    return Batches(
        dataset, sequence_length=table.sequence_length, batch_size=table.batch_size, seed=table.seed
    )


def mfu(job: Job, machine: Machine, tokens_per_second: float) -> float | None:
    """Model FLOP utilisation of the rated peak of all devices.

    None where the peak is not known, or must be wrong since more was delivered.
    """
    rated = machine.peak_flops_per_second
    delivered = training_flops_per_token(job.shape, job.train.sequence_length) * tokens_per_second
    return delivered / rated if rated and delivered <= rated else None


def versions() -> dict[str, str]:
    """Versions of what the numbers depend on."""
    packages = ("pippin", "jax", "jaxlib", "optax", "orbax-checkpoint", "numpy", "tokenizers")
    found: dict[str, Any] = {name: version(name) for name in packages}
    return {"python": sys.version.split()[0], **found}
