"""What to run: a spec, written as YAML, checked before anything starts.

A spec is resolved from four layers, later ones winning: the defaults below, the protocol, the recipe or the user's
file, and ``--set key=value``.
"""

from __future__ import annotations

import inspect
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import pydantic

from otoscope.errors import InputError, OtoscopeError, SpecError, nearest
from otoscope.experiment import protocols
from otoscope.files import parse_yaml, read_mapping
from otoscope.results import HEADLINE_SPARSITY, NULLS
from otoscope.tables import SUFFIXES as TABLES

if TYPE_CHECKING:
    from otoscope.saes import SAEConfig

RECIPES = Path(__file__).parent / "recipes"
DEFAULT_ENCODER = "otoscope-mini"
ROW_PER_CROP = ("mean", "paper")
"""Ways to pool that make one row of a crop."""
OF_FRAMES = {"epochs": 10, "batch_size": 256}
"""Defaults of training on frames or tokens, of which there are some hundred times as many as of clips."""


def _null(name: str) -> str:
    if name not in NULLS:
        raise ValueError(f"there is no null '{name}'{nearest(name, NULLS)} ({', '.join(NULLS)})")
    return name


class _Section(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False
    )


Seed = Annotated[int, pydantic.Field(ge=0, lt=2**32)]


class DatasetSpec(_Section):
    name: str = "folder"
    """A registered data set (``otoscope list datasets``); "folder" is any folder of recordings."""
    root: str | None = None
    """Where the recordings lie; relative paths count from the spec's own folder."""
    label: str
    """Column of the clips table that the probes predict."""
    label_kind: Literal["class", "number", "multi"] | None = None
    """What the label is: classes, a number (whole numbers too), or several classes separated by ";". Default: as it
    looks."""
    group: str | None = None
    """Column of what must not cross a split (singer, speaker); only for data sets that have no groups of their own."""
    skip_unreadable: bool = False
    """Go on without recordings that cannot be read, and say how many were left out."""
    licence: str | None = None
    """The licence of the recordings, for the explorer, which copies them. Default: a built-in data set's own."""
    options: dict[str, Any] = {}
    """Further options of the data set's own."""


class EncoderSpec(_Section):
    name: str
    """A short name (``otoscope list encoders``), a hub id, or a local folder."""
    revision: str | None = None
    """Revision on the hub."""
    layers: list[int | Literal["best", "last"]] = ["best", "last"]
    """Layers to split into latents; "best" is the layer with the best probe (see probing.pick_layer)."""
    as_family: str | None = None
    """Load the weights into another family's class, as the published code did with WavLM (as wav2vec2)."""
    window_s: float | None = None
    """Whisper's only: seconds that it is given, its positions cut to them, instead of 30 (docs/encoders.md)."""
    measure_crop: str | None = None
    """This encoder's own extraction.measure_crop."""


class ExtractionSpec(_Section):
    crop: str = "full"
    """What of each clip is heard; see ``otoscope extract --help``."""
    train_crop: str | None = None
    """What of training clips is heard, where that is not `crop`."""
    evaluate_crop: str | None = None
    """What of validation and test clips probes are scored on and autoencoders picked by, where that is not `crop`."""
    measure_crop: str | None = None
    """What reconstruction and disentanglement are measured on, where that is not `crop`."""
    crops: Literal["together", "in_turn"] = "together"
    """Several crops of a training clip: all in every epoch, or crop e modulo their number in epoch e (a logistic probe,
    which has no epochs, then sees the first)."""
    pool: str = "mean"
    """How frames become rows."""
    dtype: Literal["float32", "float16"] = "float32"
    """Of the stored activations."""
    device: str = "auto"
    """Where the encoder runs."""
    precision: str = "float32"
    """Of the encoder's arithmetic: float32, bfloat16, or auto (a measured table)."""


class ProbingSpec(_Section):
    probe: Literal["logistic", "linear"] = "logistic"
    """Logistic regression on standardised rows, or one linear layer trained by Adam on raw rows."""
    pick_layer: Literal["valid", "test"] = "valid"
    """What the best layer is picked by: validation groups, or, as published, the test clips that also score it."""
    interval: Literal["groups", "wilson"] = "groups"
    """Of scores: for clips of new groups, or Wilson's, which takes clips for independent."""
    epochs: int = pydantic.Field(default=120, ge=1)
    """Linear: passes over the training rows."""
    batch_size: int = pydantic.Field(default=32, ge=1)
    """Linear: rows per step."""
    lr: float = pydantic.Field(default=1e-3, gt=0)
    """Linear: learning rate of Adam."""
    keep: Literal["valid_loss", "valid_score", "last"] = "valid_loss"
    """Linear: which epoch is kept."""
    guide: bool = True
    """Logistic: whether a weighted sum of all layers, and attention over them, are measured beside single layers."""
    few_latents: list[Annotated[int, pydantic.Field(ge=1)]] = [1, 2, 4, 8, 16, 32]
    """How many of its best latents a class is told apart by; [] leaves this out."""
    regularisation: list[Annotated[float, pydantic.Field(gt=0)]] = [0.001, 0.01, 0.1, 1.0]
    """Logistic: candidate inverse strengths C of the logistic regression, chosen by grouped cross-validation."""
    folds: int = pydantic.Field(default=5, ge=2)
    """Logistic: folds of that cross-validation."""


class SaesSpec(_Section):
    kind: str = "topk"
    """Kind of sparse autoencoder (``otoscope list saes``), built in or of another package."""
    rows: Literal["clips", "frames", "tokens"] = "clips"
    """What dictionaries learn from: a row for each crop, as the probes read it, each frame, or each token, which of
    models of patches (AST) is one band of a frame; all sections alike. The studied layers are then kept so too."""
    clip_code: Literal["mean", "max", "share"] = "mean"
    """Of frames: what stands for a clip, over its frames: the mean of the codes, their largest, or the share of frames
    in which a latent is on; all sections alike. Probes try all three."""
    n_latents: int = pydantic.Field(default=2048, ge=2)
    """Latents of each dictionary."""
    sparsities: list[float] = [0.75, 0.8, 0.85, 0.9, 0.95, 0.99]
    """Fractions of the latents that are silent on every row, a dictionary for each; not used where the kind's sparsity
    cannot be set, or `options` set it (k)."""
    options: dict[str, Any] = {}
    """Further options of the kind's own, such as ``{l1: 0.3}`` for relu."""
    seeds: list[Seed] = [0, 1, 2]
    """One dictionary is trained per seed; from two on, what differs between them is measured."""
    epochs: int = pydantic.Field(default=100, ge=1)
    """Passes over the training rows (of frames 10 by default); the best by validation error is kept."""
    batch_size: int = pydantic.Field(default=32, ge=1)
    """Rows per step (of frames 256 by default)."""
    lr: float = pydantic.Field(default=1e-3, gt=0)
    """Learning rate of Adam."""
    decay_fraction: float = pydantic.Field(default=1.0, ge=0, le=1)
    """Last fraction of training, over which the learning rate falls to 0."""
    normalise: Literal["auto", "none", "center", "scale", "whiten"] = "auto"
    """What is done to rows before they train, and folded into the weights: auto takes the mean off, divides by one
    number, and brings outlying dimensions down to six times the median."""
    start: Literal["own", "data"] = "own"
    """Where latents start: as the kind's authors have them, or at training rows."""
    revive: bool = True
    """Whether latents that fall silent get another start."""
    select: Literal["own", "paper"] = "own"
    """Which epoch is kept: each its own, by all validation rows; or as published, by the last validation batch,
    one epoch for all layers of an encoder."""
    beside: list[Literal["final"]] = []
    """Layers trained beside the studied ones, which have a say in a shared epoch; they are not measured."""

    @pydantic.model_validator(mode="before")
    @classmethod
    def _of_frames(cls, values: Any) -> Any:
        framewise = isinstance(values, dict) and values.get("rows") in ("frames", "tokens")
        return OF_FRAMES | values if framewise else values

    def configs(self) -> list[SAEConfig]:
        """Return the architectures of this section."""
        from otoscope.saes import make_configs

        if "n_latents" in self.options:
            raise InputError("options: n_latents is a setting of its own; leave it out there")
        return make_configs(self.kind, self.sparsities, n_latents=self.n_latents, **self.options)

    @property
    def reads_pairs(self) -> bool:
        """Whether the kind learns from neighbouring frames."""
        from otoscope.saes import SAES

        return bool(getattr(SAES.get(self.kind), "reads_pairs", False))

    @property
    def training(self) -> dict[str, Any]:
        """Options of training; sections in which these and the seeds are equal train together."""
        ours = {"epochs", "batch_size", "lr", "decay_fraction", "normalise", "start", "revive", "select"}
        return self.model_dump(include=ours)


class FactorsSpec(_Section):
    name: str = "auto"
    """A factor set (``otoscope list factors``), "ground_truth" (synthsing's own), a CSV or parquet file (relative paths
    count from the spec's own folder), or "auto": the ground truth where the data set has one, else "descriptors"."""
    families: Literal["corrected", "paper"] = "corrected"
    """Which table of families eGeMAPS has."""
    whole_clip: bool = False
    """Let a factor of a whole clip stand for each of its crops or frames."""


class DisentanglementSpec(_Section):
    rows: Literal["all", "test"] = "all"
    """Which clips: all groups, folded; or the test clips alone."""
    fit: Literal["held_out", "in_sample"] = "held_out"
    """R2 of groups that were not fitted, or of the fitted rows themselves, as published."""
    alphas: list[Annotated[float, pydantic.Field(gt=0)]] | None = None
    """Held out: candidate Lasso penalties, for standardised codes and factors, chosen inside each fold; none: a grid
    from the data, extended downwards where weak penalties predict best."""
    folds: int = pydantic.Field(default=5, ge=2)
    """Held out: folds over the groups."""
    min_r2: float = pydantic.Field(default=0.1, le=1)
    """Held out: factors under this R2 are not ranked."""
    alpha: float = pydantic.Field(default=0.1, gt=0)
    """In-sample: the Lasso penalty."""
    empty_completeness: float | None = pydantic.Field(default=None, ge=0, le=1)
    """In-sample: completeness of a factor that keeps no coefficient; none, or 1 as published."""
    selection: Literal["same", "published"] = "same"
    """Whose completeness is averaged: that of the factors best predicted, for dense and codes alike; or, as
    published, for codes that of the most complete ones."""
    entropy: Literal["knn", "histogram"] = "knn"
    """The entropy that completeness is drawn against."""
    frames: int = pydantic.Field(default=5000, ge=0)
    """Where dictionaries learn from frames: of how many factors of moments (level, pitch, tilt) are measured too, a
    stretch of each of 20 clips or more, groups in turn; 0: none."""
    infomec: Literal["none", "focus", "all"] = "focus"
    """Whose modularity, compactness and explicitness by information are measured: that of the dense layer and of codes
    at `null_sparsity`, one seed; or everyone's, the nulls' too."""
    forest: bool = False
    """Measure also by random forests (dense, codes at `null_sparsity`, nulls); slow."""
    top: int = pydantic.Field(default=10, ge=1)
    """How many factors a summary averages over."""
    nulls: list[Annotated[str, pydantic.AfterValidator(_null)]] = list(NULLS)
    """What the codes must beat, measured beside them."""
    null_sparsity: float = pydantic.Field(default=HEADLINE_SPARSITY, gt=0, lt=1)
    """The dictionary that is nearest to this sparsity, as measured, is the one whose width and L0 the nulls share."""
    null_seeds: int | None = pydantic.Field(default=None, ge=1)
    """With how many of the dictionary's seeds nulls are measured; none: all."""
    entropy_neighbours: int = pydantic.Field(default=3, ge=1)
    """Neighbours of the Kozachenko-Leonenko entropy."""


class LatentsSpec(_Section):
    describe: Literal["headline", "all", "none"] = "headline"
    """Which dictionaries' latents are described, one by one: of each studied layer the one nearest to
    `disentanglement.null_sparsity` with its first seed; all, which takes a while and some disk; or none."""
    permutations: int = pydantic.Field(default=200, ge=20)
    """How often labels and factors are dealt out anew to see what chance gives."""


class InterventionsSpec(_Section):
    splice: bool = False
    """Whether dictionaries stand in for their layers, and what the model then does is measured: the encoder hears the
    test clips once for each dictionary of the first seed, and a few times more."""
    readout: str = "probe"
    """What the model is asked: a "probe" of the label, trained on its last layer; the head of a fine-tuned model
    ("classes", "letters"), Whisper's "words", "states", or another package's."""
    truth: str | None = None
    """Column of what the readout should say; a probe's is the label."""
    clips: int = pydantic.Field(default=60, ge=1)
    """How many test clips are heard, at most."""
    erase: str | None = None
    """Column to take out of each studied layer, by latents and in closed form."""
    keep: list[str] = []
    """Columns that should stay: what erasing takes of them is measured and, by a probe of each, what steering does."""
    shares: list[Annotated[float, pydantic.Field(gt=0, le=1)]] = [
        0.01,
        0.02,
        0.05,
        0.1,
        0.2,
        0.3,
        0.5,
        0.75,
        1.0,
    ]
    """Of the living latents, how many are erased."""
    steer: str | None = None
    """``COLUMN=CLASS`` to push each studied layer towards, in doses."""
    n_latents: int = pydantic.Field(default=20, ge=1)
    """How many latents are pushed."""
    doses: list[float] = [0.0, 0.5, 1.0, 2.0, 4.0]
    """Of the difference between the class and the rest."""
    switch: int = pydantic.Field(default=0, ge=0)
    """How many latents of each described dictionary, the best named first, are switched off in clips in which they
    fire, and on in clips in which they do not: the explorer shows what the model says before and after."""
    switch_clips: int = pydantic.Field(default=3, ge=1)
    """In how many clips each."""


class Spec(_Section):
    """A resolved experiment."""

    name: str = pydantic.Field(default="run", pattern=r"^[^/\\\x00-\x1f]{1,100}$")
    """What the run is called, and the folder that it lies in."""
    protocol: Literal["sound", "paper"] = "sound"
    """The rules the numbers are made by."""
    seed: Seed = 0
    """Of everything that is drawn, but for the dictionaries' own seeds."""
    dataset: DatasetSpec
    encoders: list[EncoderSpec] = [EncoderSpec(name=DEFAULT_ENCODER)]
    extraction: ExtractionSpec = ExtractionSpec()
    probing: ProbingSpec = ProbingSpec()
    saes: list[SaesSpec] = [SaesSpec()]
    """One section, or a list of several: dictionaries of different kinds, or of different options of one kind."""
    factors: FactorsSpec = FactorsSpec()
    disentanglement: DisentanglementSpec = DisentanglementSpec()
    latents: LatentsSpec = LatentsSpec()
    interventions: InterventionsSpec = InterventionsSpec()

    @pydantic.model_validator(mode="after")
    def _checked(self) -> Spec:
        if not self.encoders:
            raise ValueError("encoders: name at least one")
        self._check_saes()
        self._check_frames()
        framewise = self.extraction.pool in ("frames", "tokens")
        if framewise and not self.factors.whole_clip and not Path(self.factors.name).suffix:
            raise ValueError(
                f"extraction.pool: {self.extraction.pool} makes several rows of a crop, and factors are of clips: "
                f"set factors.whole_clip: true, or let dictionaries alone read them (saes.rows: {self.extraction.pool})"
            )
        if self.extraction.crops == "in_turn" and self.extraction.pool not in ROW_PER_CROP:
            raise ValueError(
                f"extraction.crops: in_turn takes a row of every clip, and pool '{self.extraction.pool}' makes several "
                f"of a crop; pool must be {' or '.join(ROW_PER_CROP)}"
            )
        return self

    @property
    def beside(self) -> list[Literal["final"]]:
        """Layers that any dictionary trains beside the studied ones."""
        return list(dict.fromkeys(layer for section in self.saes for layer in section.beside))

    @property
    def on_frames(self) -> bool:
        """Whether dictionaries learn from frames, or their tokens."""
        return self.saes[0].rows != "clips"

    @property
    def clip_code(self) -> str:
        """How frames' codes make a clip's; empty where there are no frames."""
        return self.saes[0].clip_code if self.on_frames else ""

    @pydantic.field_validator("saes", mode="before")
    @classmethod
    def _as_list(cls, value: Any) -> Any:
        return value if isinstance(value, list) else [value]

    @pydantic.field_serializer("saes")
    def _as_written(self, sections: list[SaesSpec]) -> Any:
        """Write one section as a mapping, so that ``--set saes.epochs=50`` works on a spec that was written."""
        found = [section.model_dump(mode="json") for section in sections]
        return found[0] if len(found) == 1 else found

    def _check_frames(self) -> None:
        for name in ("rows", "clip_code"):
            values = sorted({getattr(section, name) for section in self.saes})
            if len(values) > 1:
                raise ValueError(
                    f"saes.{name}: the sections say {' and '.join(values)}, and one run has one; make two runs, and "
                    "compare them with otoscope report RUN RUN"
                )
        if not self.saes:
            return
        if not self.on_frames:
            in_time = [section.kind for section in self.saes if section.reads_pairs]
            if in_time:
                raise ValueError(
                    f"saes.kind: {in_time[0]} learns from neighbouring frames; set saes.rows: frames"
                )
            return
        if self.extraction.pool != "mean" or self.extraction.crops != "together":
            raise ValueError(
                f"saes.rows: {self.saes[0].rows} goes with extraction.pool: mean (what probes of layers read) and "
                f"extraction.crops: together; got pool {self.extraction.pool}, crops {self.extraction.crops}"
            )

    def _check_saes(self) -> None:
        names: list[str] = []
        for section in self.saes:
            for sparsity in section.sparsities:
                if not 0 < sparsity < 1:
                    raise ValueError(f"saes.sparsities: {sparsity} is no fraction between 0 and 1")
            try:
                own = [config.name for config in section.configs()]
            except OtoscopeError as error:
                raise ValueError(f"saes: {error}") from error
            if not own or not section.seeds:
                raise ValueError("saes: give at least one sparsity and one seed")
            names += own
            if section.beside and section.select == "own":
                raise ValueError(
                    "saes.beside: where each keeps its own epoch (saes.select: own), nothing trains beside"
                )
        if not names:
            raise ValueError("saes: give at least one section")
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"saes: two dictionaries are called {', '.join(twice)}; their results would mix")


def load_spec(recipe_or_file: str | Path, *, settings: list[str] | None = None) -> Spec:
    """Resolve a recipe or a YAML file, and ``key=value`` settings, to a checked spec.

    Parameters
    ----------
    recipe_or_file : str or Path
        A recipe's name (``otoscope list recipes``) or the path of a YAML file.
    settings : list of str, optional
        Such as ``["dataset.root=/data", "saes.epochs=10"]``; values are read as YAML.

    Raises
    ------
    SpecError
        If there is no such recipe or file, it is no YAML mapping, or a key or value is wrong.

    Examples
    --------
    >>> load_spec("demo", settings=["saes.epochs=10"]).saes[0].epochs
    10
    """
    path = _find(recipe_or_file)
    values = read_mapping(path, error=SpecError)
    values.pop("versions", None)  # of a run's own spec.yaml
    values.setdefault("encoders", [{"name": DEFAULT_ENCODER}])  # so that a setting can reach into it
    for setting in settings or []:
        _set(values, setting)
    dataset = values.get("dataset")
    if isinstance(dataset, dict) and dataset.get("root") and path.parent != RECIPES:
        dataset["root"] = _resolved("dataset.root", str(dataset["root"]), path.parent, settings)
    factors = values.get("factors")
    if (
        isinstance(factors, dict)
        and str(factors.get("name")).lower().endswith(TABLES)
        and path.parent != RECIPES
    ):
        factors["name"] = _resolved("factors.name", str(factors["name"]), path.parent, settings)
    return resolve(values)


def resolve(values: dict[str, Any]) -> Spec:
    """Return the spec of a plain mapping, with the protocol's and all other defaults filled in."""
    _check_keys(values, Spec, "")
    protocol = values.get("protocol", "sound")
    known = protocols.defaults(protocol) if isinstance(protocol, str) else {}
    try:
        return Spec.model_validate(_merged(known, values))
    except pydantic.ValidationError as error:
        single = not isinstance(values.get("saes"), list)
        raise SpecError(_readable(error).replace("saes.0.", "saes." if single else "saes.0.")) from error


def recipes() -> dict[str, str]:
    """Return the built-in recipes, name -> what it does (the first comment line of its file)."""
    return {
        path.stem: path.read_text().splitlines()[0].lstrip("# ").strip()
        for path in sorted(RECIPES.glob("*.yaml"))
    }


def _find(recipe_or_file: str | Path) -> Path:
    name = str(recipe_or_file)
    if os.path.isfile(RECIPES / f"{name}.yaml"):
        return RECIPES / f"{name}.yaml"
    if os.path.isfile(name):
        return Path(name)
    raise SpecError(
        f"no recipe and no spec file is called '{name}'{nearest(name, recipes())} (recipes: {', '.join(recipes())})"
    )


def _set(values: dict[str, Any], setting: str) -> None:
    key, equals, text = setting.partition("=")
    if not equals or not key:
        raise SpecError(f"--set takes KEY=VALUE, such as dataset.root=/data; got '{setting}'")
    *path, last = key.strip().split(".")
    target: Any = values
    for depth, part in enumerate(path):
        if isinstance(target, list):
            target = _item(target, part, key)
            continue
        target = target.setdefault(part, {})
        if not isinstance(target, dict | list):
            raise SpecError(f"--set {setting}: '{'.'.join(path[: depth + 1])}' is a value, not a section")
    if isinstance(target, list):
        raise SpecError(
            f"--set {setting}: name a key inside item {last}, such as {'.'.join(path)}.0.name=..."
        )
    target[last] = parse_yaml(text, f"--set {key}", error=SpecError)


def _item(items: list, index: str, key: str) -> Any:
    if not index.isdecimal() or int(index) >= len(items):
        raise SpecError(f"--set {key}: '{index}' is no index into a list of {len(items)}")
    return items[int(index)]


def _resolved(key: str, place: str, folder: Path, settings: list[str] | None) -> str:
    """A path in the file counts from the file's folder; one given with --set from where the user stands."""
    given = any(setting.replace(" ", "").startswith(f"{key}=") for setting in settings or [])
    try:
        path = Path(place).expanduser()
    except RuntimeError as error:
        raise SpecError(f"{key}: there is no such user as '{place}' names") from error
    return str(path if given else folder / path)


def _merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    both = dict(base)
    for key, value in over.items():
        old = both.get(key)
        if isinstance(old, dict) and isinstance(value, dict):
            value = _merged(old, value)
        elif isinstance(old, dict) and isinstance(value, list):  # of sections, each with the same defaults
            value = [_merged(old, item) if isinstance(item, dict) else item for item in value]
        both[key] = value
    return both


def _check_keys(values: dict[str, Any], section: type[pydantic.BaseModel], where: str) -> None:
    """Refuse an unknown key before pydantic does, to suggest the nearest known one."""
    for key, value in values.items():
        field = section.model_fields.get(str(key))
        if field is None:
            known = list(section.model_fields)
            raise SpecError(
                f"unknown key '{where}{key}'{nearest(str(key), known)} (known: {', '.join(known)})"
            )
        for kind, items in _subsections(field.annotation, value):
            for item in items:
                if isinstance(item, dict):
                    _check_keys(item, kind, f"{where}{key}.")


def _subsections(annotation: Any, value: Any) -> list[tuple[type[pydantic.BaseModel], list]]:
    if inspect.isclass(annotation) and issubclass(annotation, pydantic.BaseModel):
        return [(annotation, [value])]
    inner = getattr(annotation, "__args__", ())
    if inner and inspect.isclass(inner[0]) and issubclass(inner[0], pydantic.BaseModel):
        return [(inner[0], value if isinstance(value, list) else [value])]
    return []


def _readable(error: pydantic.ValidationError) -> str:
    lines = []
    for item in error.errors():
        where = ".".join(str(part) for part in item["loc"])
        message = item["msg"].removeprefix("Value error, ")
        if item["type"] == "missing":
            lines.append(f"'{where}' is missing; every spec must say it")
        elif not where:
            lines.append(message)
        else:
            lines.append(f"{where}: {message} (got {item['input']!r})")
    return "; ".join(dict.fromkeys(lines))
