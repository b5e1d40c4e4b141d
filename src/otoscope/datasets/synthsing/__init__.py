"""Singing with known ground truth: 20 synthetic singers, ten techniques, five vowels.

Every clip is made by source and filter from parameters that are kept, so that what a model's features say about
pitch, vibrato, breath or formants can be held against what truly made the sound.

The ranges of techniques overlap, and half of what sets them apart is how the sound moves: on unseen singers, logistic
regression on mean MFCCs names 0.48 of the techniques, on the true factors 0.97 (``benchmarks/synthsing_mfcc.py``).
"""

from otoscope.datasets.synthsing.factors import FACTORS, ground_truth, true_factors
from otoscope.datasets.synthsing.folder import DESCRIPTION, LICENCE, VERSION, load
from otoscope.datasets.synthsing.plan import (
    DURATIONS_S,
    SINGERS,
    TECHNIQUES,
    VOWELS,
    draw_voice,
    plan_clips,
    voice_of,
)
from otoscope.datasets.synthsing.voice import SAMPLE_RATE, Voice, render

__all__ = [
    "DESCRIPTION", "DURATIONS_S", "FACTORS", "LICENCE", "SAMPLE_RATE", "SINGERS", "TECHNIQUES", "VERSION", "VOWELS",
    "Voice", "draw_voice", "ground_truth", "load", "plan_clips", "render", "true_factors", "voice_of",
]  # fmt: skip
