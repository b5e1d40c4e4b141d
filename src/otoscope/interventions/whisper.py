"""Whisper's transcript as a readout: greedy, without time stamps, its decoder loaded for this alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from otoscope.errors import ModelError
from otoscope.interventions.readouts import Told
from otoscope.interventions.words import word_error_rate

if TYPE_CHECKING:
    from otoscope.encoders.encoder import Encoder


@dataclass(frozen=True)
class Transcript:
    """What Whisper hears in a clip.

    Attributes
    ----------
    text : str
    tokens : tuple of int
        Of the text, the end included if it was reached.
    no_speech : float
        Probability of the token for no speech, where the transcript begins.
    language : str
        Its token, such as ``<|en|>``; empty where the model has one language only.
    log_probs : np.ndarray [tokens, vocabulary] or None
        Of a plain answer: what follows each of its tokens' beginnings.
    loss, kl : float
        Of an edited answer, given the plain one: mean over the plain tokens of their cross-entropy and of the
        divergence from the plain log_probs, in nats; NaN of a plain one.
    """

    text: str
    tokens: tuple[int, ...]
    no_speech: float
    language: str = ""
    log_probs: np.ndarray | None = None
    loss: float = float("nan")
    kl: float = float("nan")


class Words:
    """Whisper's greedy transcript.

    Measures: ``loss`` and ``kl`` (of the plain transcript's tokens, one by one, in nats a token), ``changed_words``
    against the plain transcript, ``no_speech`` and its change ``d_no_speech``, ``changed_language`` where the model
    has languages, ``any_words``, whether any letter is heard, ``false_words``, whether one is heard at a probability of
    no speech under `threshold`, and ``word_error`` against the truth, a text. ``changed_words`` is no published WER:
    its reference is the model's own text, which is at 0 by definition.

    Parameters
    ----------
    most : int
        Tokens of a transcript.
    threshold : float
        From this probability of no speech on, a text counts as silence (the published decoder's .6).
    """

    name = "words"

    def __init__(self, *, most: int = 100, threshold: float = 0.6) -> None:
        self._most, self._threshold = most, threshold

    def prepare(self, encoder: Encoder) -> None:
        """Load the decoder and its vocabulary."""
        from transformers import AutoTokenizer

        from otoscope.encoders.heads import checkpoint_folder, load_whole

        if encoder.family != "whisper":
            raise ModelError(
                f"the readout 'words' is Whisper's transcript; {encoder.name} is of '{encoder.family}'"
            )
        self._model: Any = load_whole(encoder, "words")
        folder = checkpoint_folder(encoder, text=True)
        try:
            self._tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        except (OSError, ValueError, TypeError) as error:
            raise ModelError(f"{folder}: words cannot be read: it has no tokenizer ({error})") from error
        settings = self._model.generation_config
        self._start = self._model.config.decoder_start_token_id
        self._end = self._model.config.eos_token_id
        self._no_stamps = getattr(settings, "no_timestamps_token_id", None)
        self._languages = dict(getattr(settings, "lang_to_id", None) or {})
        self._transcribe = (getattr(settings, "task_to_id", None) or {}).get("transcribe")
        self._room = self._model.config.max_target_positions
        self._never = list(settings.suppress_tokens or [])
        self._not_first = list(settings.begin_suppress_tokens or [])

    def read(self, inputs: Tensor, plain: Sequence[Any] | None = None) -> list[Transcript]:
        """Return the transcript of each clip."""
        with torch.no_grad():
            return self.hear(
                self._model.model.encoder(inputs.to(self._model.device)).last_hidden_state, plain
            )

    def hear(self, states: Tensor, plain: Sequence[Any] | None = None) -> list[Transcript]:
        """Return the transcript of each clip of the encoder's output [clips, tokens, width]."""
        with torch.no_grad():
            known = [None] * len(states) if plain is None else plain
            return [self._hear(state[None], own) for state, own in zip(states, known, strict=True)]

    def score(self, plain: Transcript, edited: Transcript, truth: str | None = None) -> dict[str, float]:
        """Return the measures that the class names."""
        heard = bool(edited.text.strip()) and any(letter.isalnum() for letter in edited.text)
        measures = {
            "loss": edited.loss,
            "kl": edited.kl,
            "changed_words": word_error_rate(plain.text, edited.text),
            "no_speech": edited.no_speech,
            "d_no_speech": edited.no_speech - plain.no_speech,
            "any_words": float(heard),
            "false_words": float(heard and edited.no_speech < self._threshold),
        }
        if plain.language:
            measures["changed_language"] = float(plain.language != edited.language)
        return measures if truth is None else {**measures, "word_error": word_error_rate(truth, edited.text)}

    def tell(self, answer: Transcript) -> Told:
        """Return the text, and the probability of no speech where the model has one."""
        return Told(answer.text, {} if np.isnan(answer.no_speech) else {"no speech": float(answer.no_speech)})

    def _hear(self, state: Tensor, plain: Transcript | None) -> Transcript:
        """Decode one clip from the encoder's output [1, tokens, width]."""
        logits, cache = self._step(state, [self._start], None)
        first = logits[-1].float()
        # In Whisper's vocabulary the token for no speech stands just before the one for no time stamps.
        no_speech = float(first.softmax(-1)[self._no_stamps - 1]) if self._no_stamps else float("nan")
        prompt, language = [], ""
        if self._languages:
            language = max(self._languages, key=lambda name: float(first[self._languages[name]]))
            prompt += [self._languages[language]]
        prompt += [token for token in (self._transcribe, self._no_stamps) if token is not None]
        if prompt:
            logits, cache = self._step(state, prompt, cache)
        tokens: list[int] = []
        kept = [logits[-1]]
        most = min(self._most, self._room - 1 - len(prompt))
        while len(tokens) < most:
            allowed = kept[-1].float().clone()
            allowed[self._never if tokens else [*self._never, *self._not_first]] = -torch.inf
            tokens.append(int(allowed.argmax()))
            if tokens[-1] == self._end:
                break
            logits, cache = self._step(state, tokens[-1:], cache)
            kept.append(logits[-1])
        text = self._tokenizer.decode([t for t in tokens if t != self._end], skip_special_tokens=True).strip()
        if plain is None:
            log_probs = torch.stack(kept[: len(tokens)]).float().log_softmax(-1).cpu().numpy()
            return Transcript(text, tuple(tokens), no_speech, language, log_probs)
        loss, kl = self._against(state, plain, [self._start, *prompt])
        return Transcript(text, tuple(tokens), no_speech, language, None, loss, kl)

    def _against(self, state: Tensor, plain: Transcript, prompt: list[int]) -> tuple[float, float]:
        """Return the loss of the plain tokens and the divergence from what the plain model said at each of them."""
        assert plain.log_probs is not None  # of a plain answer
        logits, _ = self._step(state, [*prompt, *plain.tokens[:-1]], None)
        own = logits[len(prompt) - 1 :].float().log_softmax(-1).cpu()
        was = torch.from_numpy(plain.log_probs)
        loss = -own.gather(1, torch.tensor(plain.tokens)[:, None]).mean()
        return float(loss), float((was.exp() * (was - own)).sum(-1).mean())

    def _step(self, state: Tensor, tokens: list[int], cache: Any) -> tuple[Tensor, Any]:
        """Return the logits [tokens, vocabulary] that follow each token, and the cache to go on from."""
        out = self._model(
            encoder_outputs=(state,),
            decoder_input_ids=torch.tensor([tokens], device=state.device),
            past_key_values=cache,
            use_cache=True,
        )
        return out.logits[0], out.past_key_values
