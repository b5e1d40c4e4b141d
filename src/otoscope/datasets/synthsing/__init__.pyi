from .factors import FACTORS, ground_truth, true_factors
from .folder import DESCRIPTION, LICENCE, VERSION, load
from .plan import DURATIONS_S, SINGERS, TECHNIQUES, VOWELS, draw_voice, plan_clips, voice_of
from .voice import SAMPLE_RATE, Voice, render

__all__ = [
    "DESCRIPTION",
    "DURATIONS_S",
    "FACTORS",
    "LICENCE",
    "SAMPLE_RATE",
    "SINGERS",
    "TECHNIQUES",
    "VERSION",
    "VOWELS",
    "Voice",
    "draw_voice",
    "ground_truth",
    "load",
    "plan_clips",
    "render",
    "true_factors",
    "voice_of",
]
