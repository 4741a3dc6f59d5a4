from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from pippin.errors import PippinError
from pippin.job import ChipTable, DataTable, MeshTable, RunTable, TrainTable, load_job, make_job
from pippin.models.config import ModelConfig
from pippin.models.presets import PRESETS

SMALLEST = """
[model]
preset = "pippin-3m"

[train]
steps = 10
"""
SHAPE: dict[str, Any] = {
    "vocab_size": 300,
    "d_model": 32,
    "num_layers": 2,
    "num_heads": 4,
    "num_kv_heads": 2,
    "head_dim": 8,
    "ffn_dim": 48,
    "tie_embeddings": True,
    "rope_theta": 500.0,
    "norm_epsilon": 1e-6,
}
TABLES: dict[str, Any] = {"model": SHAPE, "train": {"steps": 10}}


def written(folder: Path, text: str) -> Path:
    path = folder / "job.toml"
    path.write_bytes(text.encode())
    return path


# --- reading and writing


def test_defaults(tmp_path: Path) -> None:
    job = load_job(written(tmp_path, SMALLEST))
    assert (job.data.corpus, job.data.vocab_size, job.train.steps) == ("sotu", 8192, 10)
    assert job.shape == ModelConfig(**PRESETS["pippin-3m"], vocab_size=8192)


def test_tokens_of_a_step() -> None:
    train = {"steps": 10, "batch_size": 3, "sequence_length": 50}
    assert make_job(TABLES | {"train": train}).tokens_per_step == 150


def test_a_job_is_frozen() -> None:
    job = make_job(TABLES)
    with pytest.raises(ValidationError, match="frozen"):
        job.train.steps = 3  # type: ignore[misc]
    with pytest.raises(ValidationError, match="frozen"):
        job.model = {}  # type: ignore[misc]


def test_shape_starts_from_the_preset_and_follows_the_vocabulary() -> None:
    model = {"preset": "pippin-3m", "num_layers": 7}
    shape = make_job(TABLES | {"model": model, "data": {"vocab_size": 500}}).shape
    assert (shape.num_layers, shape.d_model, shape.vocab_size) == (7, PRESETS["pippin-3m"]["d_model"], 500)
    given = make_job(TABLES | {"model": model | {"vocab_size": 777}, "data": {"vocab_size": 500}}).shape
    assert given.vocab_size == 777


fractions = st.floats(0.001, 0.4)
positive = st.floats(1e-9, 1e6)
jobs = st.fixed_dictionaries(
    {
        "model": st.sampled_from([{"preset": name} for name in PRESETS])
        | st.just(SHAPE)
        | st.just({"preset": "pippin-5m", "head_dim": 32, "tie_embeddings": False, "rope_theta": 1e6}),
        "train": st.fixed_dictionaries(
            {"steps": st.integers(1, 10**9)},
            optional={
                "learning_rate": positive,
                "schedule": st.sampled_from(["cosine", "wsd"]),
                "warmup_fraction": fractions,
                "decay_fraction": fractions,
                "z_loss": st.integers(0, 3),  # an integer where a float is meant
                "epsilon": positive,
                "seed": st.integers(0, 2**63 - 1),
            },
        ),
    },
    optional={
        "data": st.fixed_dictionaries({}, optional={"corpus": st.text(), "tokenizer": st.text()}),
        "run": st.fixed_dictionaries(
            {}, optional={"checkpoint_every_seconds": positive, "evaluate_every_steps": st.integers(1, 99)}
        ),
        "chip": st.fixed_dictionaries(
            {},
            optional={
                "compute_dtype": st.sampled_from(["float32", "bfloat16"]),
                "scan_layers": st.booleans(),
            },
        ),
    },
)


@settings(deadline=None)
@given(jobs)
def test_a_written_job_is_read_back_equal(
    tmp_path_factory: pytest.TempPathFactory, tables: dict[str, Any]
) -> None:
    job = make_job(tables)
    back = load_job(written(tmp_path_factory.getbasetemp(), job.to_toml()))
    assert back == job
    assert back.hash == job.hash
    assert back.to_toml() == job.to_toml()


@pytest.mark.parametrize("table", [RunTable, DataTable, TrainTable, MeshTable, ChipTable])
def test_what_toml_cannot_say_is_a_default(table: type[Any]) -> None:
    """TOML has no null: a field that may be None must start as None, or the round trip would lose it."""
    for name, field in table.model_fields.items():
        if type(None) in getattr(field.annotation, "__args__", ()):
            assert field.default is None, name


# --- changes on the command line


@pytest.mark.parametrize(
    ("override", "table", "name", "value"),
    [
        ("train.steps=500", "train", "steps", 500),
        ("train.steps=1_000", "train", "steps", 1000),
        (" train.steps = 7 ", "train", "steps", 7),
        ("train.learning_rate=1e-3", "train", "learning_rate", 0.001),
        ("train.learning_rate=1", "train", "learning_rate", 1.0),
        ("train.schedule=wsd", "train", "schedule", "wsd"),
        ('train.schedule="wsd"', "train", "schedule", "wsd"),
        ("chip.scan_layers=true", "chip", "scan_layers", True),
        ("chip.compute_dtype='bfloat16'", "chip", "compute_dtype", "bfloat16"),
        ("data.corpus=/some/where/a b.txt", "data", "corpus", "/some/where/a b.txt"),
        ("data.corpus=key=value.txt", "data", "corpus", "key=value.txt"),
        ('data.corpus="2024"', "data", "corpus", "2024"),
        ("data.tokenizer=[x", "data", "tokenizer", "[x"),
    ],
)
def test_override(tmp_path: Path, override: str, table: str, name: str, value: Any) -> None:
    got = getattr(getattr(load_job(written(tmp_path, SMALLEST), [override]), table), name)
    assert got == value and type(got) is type(value)


def test_overrides_change_the_model_and_the_last_one_counts(tmp_path: Path) -> None:
    path = written(tmp_path, SMALLEST)
    job = load_job(
        path, ["model.preset=pippin-5m", "model.tie_embeddings=false", "train.steps=3", "train.steps=4"]
    )
    width = PRESETS["pippin-5m"]["d_model"]
    assert (job.shape.d_model, job.shape.tie_embeddings, job.train.steps) == (width, False, 4)


@pytest.mark.parametrize(
    "override", ["", "train", "train.steps", "steps=3", "=3", ".steps=3", "train.=3", "="]
)
def test_override_of_another_form_is_refused(tmp_path: Path, override: str) -> None:
    with pytest.raises(PippinError) as caught:
        load_job(written(tmp_path, SMALLEST), [override])
    assert str(caught.value) == (f"--set: '{override}' is not table.key=value (as in --set train.steps=100)")


# --- what is refused, in one line each

REFUSED = [
    ("model.num_layer", "3", "unknown key 'model.num_layer' (did you mean 'num_layers'?)"),
    ("data.corpsu", "'x'", "unknown key 'data.corpsu' (did you mean 'corpus'?)"),
    ("train.learning_rte", "1", "unknown key 'train.learning_rte' (did you mean 'learning_rate'?)"),
    ("run.keep_checkpoint", "1", "unknown key 'run.keep_checkpoint' (did you mean 'keep_checkpoints'?)"),
    ("chip.dtype", "'float32'", "unknown key 'chip.dtype' (did you mean 'compute_dtype'?)"),
    ("dta.corpus", "'x'", "unknown key 'dta' (did you mean 'data'?)"),
    ("zzz.x", "1", "unknown key 'zzz' (known: model, data, train, mesh, run, chip)"),
    ("train.more.steps", "1", "unknown key 'train.more' (known: steps, "),
    ("model.preset", "'pippin-5'", "no preset named 'pippin-5' (did you mean 'pippin-5m'?)"),
    ("model.preset", "3", "no preset named '3'"),
    ("model.preset", "['pippin-3m']", "no preset named"),
    ("model", "{}", "'model.d_model' is missing"),
    ("model", "{d_model = 8}", "'model.num_layers' is missing"),
    ("train", "{}", "'train.steps' is missing"),
    ("data", "3", "'data' is not a table"),
    ("model", "3", "'model' is not a table"),
    ("data", "[{corpus = 'x'}]", "'data' is not a table"),
    ("train.batch_size", "'8'", "train.batch_size: input should be a valid integer"),
    ("train.batch_size", "true", "train.batch_size: input should be a valid integer"),
    ("train.batch_size", "1.5", "train.batch_size: input should be a valid integer"),
    ("train.batch_size", "0", "train.batch_size: input should be greater than or equal to 1, got 0"),
    ("train.learning_rate", r'"a\nb"', "train.learning_rate: input should be a valid number"),
    ("train.learning_rate", "inf", "train.learning_rate: input should be a finite number"),
    ("train.learning_rate", "nan", "train.learning_rate: input should be a finite number"),
    ("train.schedule", "'linear'", "train.schedule: input should be 'cosine' or 'wsd', got 'linear'"),
    ("train.seed", str(2**63), "train.seed: input should be less than"),
    ("train.seed", "-1", "train.seed: input should be greater than or equal to 0, got -1"),
    (
        "train",
        "{steps = 1, schedule = 'wsd', warmup_fraction = 0.5, decay_fraction = 0.6}",
        "train: warmup_fraction and decay_fraction add up to more than 1",
    ),
    ("data.corpus", "3", "data.corpus: input should be a valid string"),
    ("data.vocab_size", "256", "data.vocab_size: input should be greater than or equal to 257"),
    ("model.tie_embeddings", "1", "model.tie_embeddings: input should be a valid boolean"),
    ("model.rope_theta", "inf", "model.rope_theta: input should be a finite number"),
    ("model.d_model", "1979-05-27", "model.d_model: input should be a valid integer"),
]


@pytest.mark.parametrize(("key", "value", "message"), REFUSED)
def test_refused_in_one_line(tmp_path: Path, key: str, value: str, message: str) -> None:
    """The smallest job with one key of it, or one more, set to a value in TOML."""
    keys = {"model.preset": "'pippin-3m'", "train.steps": "10"}
    kept = {name: text for name, text in keys.items() if not name.startswith(f"{key}.")}
    lines = [f"{name} = {text}" for name, text in (kept | {key: value}).items()]
    path = written(tmp_path, "\n".join(lines))
    with pytest.raises(PippinError) as caught:
        load_job(path)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith((f"{path}: ", "model.preset: "))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"d_model": 33, "head_dim": 0}, "d_model 33 does not divide into num_heads 4"),
        ({"num_kv_heads": 3}, "num_heads 4 does not divide into num_kv_heads 3"),
        ({"head_dim": 31}, "head_dim 31 is odd"),
    ],
)
def test_impossible_shape_is_an_error_of_the_job(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(PippinError) as caught:
        make_job(TABLES | {"model": SHAPE | changes}, where="job.toml")
    assert str(caught.value).startswith(f"job.toml: model: {message}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "'model' is missing: the job needs this table"),
        ("[train]\nsteps = 1", "'model' is missing: the job needs this table"),
        ("[model]\npreset = 'pippin-3m'", "'train' is missing: the job needs this table"),
        ("[model\n", "not valid TOML: "),
        (f"{SMALLEST}steps = 2", "not valid TOML: "),
    ],
)
def test_refused_as_a_whole(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(PippinError) as caught:
        load_job(written(tmp_path, text))
    assert str(caught.value).startswith(f"{tmp_path}/job.toml: {message}")
    assert "\n" not in str(caught.value)


def test_the_nearest_known_key_is_named_for_every_key() -> None:
    """Each key with its last letter doubled, in its own table."""
    tables = {
        "model": ModelConfig,
        "data": DataTable,
        "train": TrainTable,
        "mesh": MeshTable,
        "run": RunTable,
        "chip": ChipTable,
    }
    for table, kind in tables.items():
        for name in ["preset"] * (table == "model") + list(kind.model_fields):
            wrong = name + name[-1]
            with pytest.raises(PippinError) as caught:
                make_job(TABLES | {table: TABLES.get(table, {}) | {wrong: 1}})
            assert f"unknown key '{table}.{wrong}' (did you mean '{name}'?)" in str(caught.value)


def test_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(PippinError, match=r"absent\.toml: no such file or folder"):
        load_job(tmp_path / "absent.toml")
    with pytest.raises(PippinError, match=f"^{tmp_path}: it is a folder, not a file"):
        load_job(tmp_path)
    binary = tmp_path / "job.toml"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(PippinError, match=r"job\.toml: not valid TOML"):
        load_job(binary)


# --- what a job file does not need


def test_reading_a_job_and_counting_its_model_never_imports_jax() -> None:
    code = (
        "import sys; import pippin.job, pippin.models.counts; "
        "sys.exit(any(name in sys.modules for name in ('jax', 'optax', 'orbax')))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
