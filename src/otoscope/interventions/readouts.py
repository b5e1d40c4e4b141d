"""Readouts: what a model does with its states, and how far an edit changes that.

A readout is asked twice about the same sound, untouched and under edits; `READOUTS` holds ours by name, and other
packages add theirs through the entry point group ``otoscope.readouts``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from otoscope.interventions.words import letter_error_rate, word_error_rate
from otoscope.registry import Registry

if TYPE_CHECKING:
    from otoscope.encoders.encoder import Encoder
    from otoscope.encoders.tokens import Layer

READOUTS = Registry("readout", "otoscope.readouts")
"""Readouts that need nothing but the checkpoint, called without arguments."""
READOUTS.add(
    "classes", "otoscope.interventions.readouts:Classes", "the class head of a fine-tuned model, AST's too"
)
READOUTS.add(
    "letters", "otoscope.interventions.readouts:Letters", "the CTC head of a fine-tuned model: its text"
)
READOUTS.add("words", "otoscope.interventions.whisper:Words", "Whisper's transcript, greedy")
READOUTS.add("states", "otoscope.interventions.readouts:States", "the states of the last layer")
READOUTS.add("sound", "otoscope.interventions.sound:Sound", "EnCodec's decoder: the sound that comes out")


class Readout(Protocol):
    """What a readout must have.

    An answer is whatever it says of one clip; only the readout itself looks inside. One whose answers people are to
    read, side by side with those of an edited model, also has ``tell(answer) -> Told``; one to which padding matters,
    `HearsLengths`.
    """

    name: str

    def prepare(self, encoder: Encoder) -> None:
        """Load what it needs beside the encoder, once; raise ModelError if the checkpoint lacks it."""

    def read(self, inputs: Tensor, plain: Sequence[Any] | None = None) -> list[Any]:
        """Run the model on stacked inputs, under whatever edits are in place; return an answer for each clip.

        `plain` are the untouched model's answers to the same clips, where they are known.
        """

    def score(self, plain: Any, edited: Any, truth: Any = None) -> dict[str, float]:
        """Return measures of one clip: how far the edited answer is from the plain one and, where given, the truth.

        Measures are 0 or at their lowest where nothing changed, save those that the truth decides.
        """


@runtime_checkable
class HearsLengths(Protocol):
    """A readout that is told how long clips are, before it reads those of another length."""

    def hears(self, n_samples: int) -> None:
        """Be told the length of the clips that come next: models that pad show nothing of it in their inputs."""


class Told(NamedTuple):
    """An answer as a person is shown it."""

    says: str = ""
    """A transcript, a class, a number; empty where the answer is a sound."""
    shares: Mapping[str, float] = {}
    """Probabilities by what they are of."""
    sound: np.ndarray | None = None
    """[samples], at the encoder's rate."""


@dataclass(frozen=True)
class Logits:
    """What a head says of a clip: logits [classes] or [frames, letters], and the class or text they mean."""

    values: np.ndarray
    says: str


class Classes:
    """A head of classes; several at once where the model was trained so, as AST on AudioSet.

    Measures: ``loss``, the cross-entropy of the plain model's class (of its probabilities, where classes are
    independent), ``kl``, the divergence of the classes from the plain ones in nats, ``changed``, whether the first
    class is another, and ``error`` against the truth, a class's name.
    """

    name = "classes"

    def prepare(self, encoder: Encoder) -> None:
        """Load the head."""
        from otoscope.encoders.heads import load_whole

        self._model: Any = load_whole(encoder, "classes")
        config = self._model.config
        self._names = [str(config.id2label[i]) for i in range(config.num_labels)]
        ast = config.model_type == "audio-spectrogram-transformer" and config.num_labels > 500  # AudioSet
        self._independent = config.problem_type == "multi_label_classification" or (
            config.problem_type is None and ast
        )

    def read(self, inputs: Tensor, plain: Sequence[Any] | None = None) -> list[Logits]:
        """Return the logits [classes] of each clip."""
        logits = head_logits(self._model, inputs)
        return [Logits(row, self._names[int(row.argmax())]) for row in logits]

    def score(self, plain: Logits, edited: Logits, truth: str | None = None) -> dict[str, float]:
        """Return loss, kl, changed and, where the truth is given, error."""
        if self._independent:
            p = _both_sides(plain.values)
            q = _both_sides(edited.values)
            loss = float(-(np.exp(p) * q).sum())
            kl = float((np.exp(p) * (p - q)).sum())
        else:
            p, q = log_softmax(plain.values), log_softmax(edited.values)
            loss, kl = float(-q[plain.values.argmax()]), float((np.exp(p) * (p - q)).sum())
        measures = {"loss": loss, "kl": kl, "changed": float(plain.says != edited.says)}
        return measures if truth is None else {**measures, "error": float(edited.says != truth)}

    def tell(self, answer: Logits) -> Told:
        """Return the first class and the probability of each."""
        logs = _both_sides(answer.values)[0] if self._independent else log_softmax(answer.values)
        return Told(answer.says, dict(zip(self._names, np.exp(logs).tolist(), strict=True)))


class Letters:
    """A CTC head: greedy text.

    Measures: ``loss``, the mean over frames of the cross-entropy of the plain model's letter, ``kl``, that of the
    divergence, in nats, ``changed_words`` and ``changed_letters`` against the plain text, and against the truth, a
    text, ``word_error`` and ``letter_error``.
    """

    name = "letters"

    def prepare(self, encoder: Encoder) -> None:
        """Load the head and the letters."""
        from transformers import AutoTokenizer

        from otoscope.encoders.heads import checkpoint_folder, load_whole
        from otoscope.errors import ModelError

        self._model: Any = load_whole(encoder, "ctc")
        folder = checkpoint_folder(encoder, text=True)
        try:
            self._tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        except (OSError, ValueError, TypeError) as error:
            raise ModelError(
                f"{folder}: its letters cannot be read: it has no tokenizer ({error})"
            ) from error

    def read(self, inputs: Tensor, plain: Sequence[Any] | None = None) -> list[Logits]:
        """Return the logits [frames, letters] of each clip."""
        logits = head_logits(self._model, inputs)
        return [Logits(row, self._tokenizer.decode(row.argmax(-1))) for row in logits]

    def score(self, plain: Logits, edited: Logits, truth: str | None = None) -> dict[str, float]:
        """Return loss, kl, changed words and letters and, where the truth is given, both error rates."""
        p, q = log_softmax(plain.values), log_softmax(edited.values)
        picked = np.take_along_axis(q, plain.values.argmax(-1)[:, None], axis=-1)
        measures = {
            "loss": float(-picked.mean()),
            "kl": float((np.exp(p) * (p - q)).sum(-1).mean()),
            "changed_words": word_error_rate(plain.says, edited.says),
            "changed_letters": letter_error_rate(plain.says, edited.says),
        }
        if truth is not None:
            measures["word_error"] = word_error_rate(truth, edited.says)
            measures["letter_error"] = letter_error_rate(truth, edited.says)
        return measures

    def tell(self, answer: Logits) -> Told:
        """Return the text."""
        return Told(answer.says)


class States:
    """Later states themselves, by default those that leave the last norm.

    Measure: ``moved``, the squared distance from the plain states over the plain states' own variance over tokens.
    """

    name = "states"

    def __init__(self, layer: Layer = "final") -> None:
        self._layer = layer

    def prepare(self, encoder: Encoder) -> None:
        """Remember the encoder."""
        self._encoder = encoder
        encoder.layers([self._layer])

    def read(self, inputs: Tensor, plain: Sequence[Any] | None = None) -> list[np.ndarray]:
        """Return the state [tokens, width] of each clip."""
        return list(self._encoder.run(inputs, self._encoder.layers([self._layer]))[self._layer].cpu().numpy())

    def score(self, plain: np.ndarray, edited: np.ndarray, truth: Any = None) -> dict[str, float]:
        """Return how far the state moved."""
        spread = float(((plain - plain.mean(0)) ** 2).sum())
        return {"moved": float(((edited - plain) ** 2).sum()) / spread if spread > 0 else float("nan")}


def head_logits(model: Any, inputs: Tensor) -> np.ndarray:
    """Return the logits [clips, ...] of a model with a head, for inputs that an encoder's frontend made."""
    with torch.no_grad():
        return model(**{model.main_input_name: inputs.to(model.device)}).logits.float().cpu().numpy()


def log_softmax(logits: np.ndarray) -> np.ndarray:
    return torch.from_numpy(logits).double().log_softmax(-1).numpy()


def _both_sides(logits: np.ndarray) -> np.ndarray:
    """Return the logarithms of each class's probability and of its absence, [2, classes]."""
    values = torch.from_numpy(logits).double()
    return torch.nn.functional.logsigmoid(torch.stack([values, -values])).numpy()
