"""TopK with scikit-learn's manners, for pipelines and grid searches."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted, check_random_state, validate_data

from otoscope.compute import as_tensor
from otoscope.saes.base import SparseAutoencoder
from otoscope.saes.kinds.topk import TopKConfig
from otoscope.saes.metrics import reconstruction_metrics
from otoscope.saes.training.train import train_saes


class TopKCoder(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Sparse codes of k active latents, learnt by a TopK autoencoder.

    Parameters
    ----------
    n_latents : int
        Width of the code.
    k : int
        Latents that may be active for one row.
    epochs, batch_size, lr
        Passes over the rows, rows in a step, Adam's learning rate.
    normalise : {"auto", "none", "center", "scale", "whiten"}
        What is done to the rows in training; folded into the weights afterwards.
    random_state : int, RandomState or None
        Seeds the initialisation and the order of the rows.

    Attributes
    ----------
    components_ : [n_latents, n_features]
        The dictionary: a latent's direction in the space of the features.
    sae_ : SparseAutoencoder
        The autoencoder.
    n_features_in_ : int
        Features seen in `fit`.

    Examples
    --------
    >>> import numpy as np
    >>> from otoscope.saes import TopKCoder
    >>> rows = np.random.default_rng(0).normal(size=(200, 16))
    >>> TopKCoder(n_latents=32, k=4, epochs=2).fit_transform(rows).shape
    (200, 32)
    """

    sae_: SparseAutoencoder

    def __init__(
        self,
        n_latents: int = 64,
        *,
        k: int = 8,
        epochs: int = 20,
        batch_size: int = 32,
        lr: float = 1e-3,
        normalise: str = "auto",
        random_state: Any = 0,
    ) -> None:
        self.n_latents = n_latents
        self.k = k
        self.epochs = epochs
        self.batch_size = batch_size
        self.lr = lr
        self.normalise = normalise
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn the dictionary from the rows of `X`."""
        X = validate_data(self, X, dtype=[np.float64, np.float32])
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        (self.sae_,) = train_saes(
            {0: X},
            TopKConfig(n_latents=self.n_latents, k=self.k),
            seeds=[seed],
            data_seed=seed,
            epochs=self.epochs,
            batch_size=self.batch_size,
            lr=self.lr,
            normalise=self.normalise,
            precision=str(X.dtype),
            device="cpu",
            progress=False,
        )
        self.components_ = self.sae_.get_parameter("decoder_weight").detach().numpy()
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Return the codes of the rows of `X`, [rows, n_latents]."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=[np.float64, np.float32], reset=False)
        with torch.no_grad():
            codes = self.sae_.encode(torch.tensor(X, dtype=next(self.sae_.parameters()).dtype))
        return codes.numpy().astype(X.dtype, copy=False)

    def inverse_transform(self, X: Any) -> np.ndarray:
        """Return what codes `X` [rows, n_latents] stand for, [rows, n_features]."""
        check_is_fitted(self)
        with torch.no_grad():
            codes = as_tensor(X).to(next(self.sae_.parameters()).dtype)
            return self.sae_.decode(codes).numpy()

    def score(self, X: Any, y: Any = None) -> float:
        """Return the share of the variance of `X` that is explained: 1 is perfect, 0 is its mean."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=[np.float64, np.float32], reset=False)
        return 1 - reconstruction_metrics(self.sae_, X).fvu

    @property
    def _n_features_out(self) -> int:
        return self.sae_.n_latents

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
