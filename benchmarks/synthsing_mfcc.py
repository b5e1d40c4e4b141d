"""How hard is synthsing? Techniques of unseen singers from mean MFCCs, and from the factors that made the sound.

Run ``python benchmarks/synthsing_mfcc.py``. Version 1, seed 0, accuracy on the five test singers (250 clips, ten
classes, chance 0.10; trained on the other fifteen), first logistic regression, then a random forest:

- means of 20 MFCCs: 0.480, 0.456
- means, standard deviations and mean steps of them: 0.760, 0.692
- the factors that made the clips: 0.968, 0.976
"""

import librosa
import numpy as np
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from otoscope.audio import read_audio
from otoscope.datasets import synthsing


def main(seed: int = 0) -> None:
    """Print one accuracy per set of features and classifier."""
    clips = synthsing.load(seed=seed)
    is_test = (clips["split"] == "test").to_numpy()
    technique = clips["technique"].to_numpy()
    mfccs = [
        librosa.feature.mfcc(y=read_audio(p)[0], sr=synthsing.SAMPLE_RATE, n_mfcc=20) for p in clips["path"]
    ]
    features = {
        "mean MFCC": np.stack([mfcc.mean(axis=1) for mfcc in mfccs]),
        "mean, sd and mean step of MFCC": np.stack([_moments(mfcc) for mfcc in mfccs]),
        "true factors": synthsing.ground_truth(clips)[list(synthsing.FACTORS["name"])].to_numpy(),
    }
    for name, x in features.items():
        linear = make_pipeline(StandardScaler(), LogisticRegression(C=1.0, max_iter=3_000))
        forest = RandomForestClassifier(300, random_state=0)
        for kind, classifier in (("logistic regression", linear), ("random forest", forest)):
            classifier.fit(x[~is_test], technique[~is_test])
            print(f"{name}, {kind}: {classifier.score(x[is_test], technique[is_test]):.3f}")


def _moments(mfcc: np.ndarray) -> np.ndarray:
    return np.concatenate([mfcc.mean(axis=1), mfcc.std(axis=1), np.abs(np.diff(mfcc)).mean(axis=1)])


if __name__ == "__main__":
    main()
