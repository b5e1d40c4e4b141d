"""The 88 eGeMAPSv02 functionals: unit and family of each.

Two family tables, written out so that nothing depends on how a name is spelt:

- "paper": what the string rules of Mariotte et al. (2025) give: 14 pitch, 18 formants, 16 MFCC, 17 spectral,
  6 quality, 12 loudness, 5 rhythm.
- "corrected": the four ``logRelF0-H1-*`` functionals are harmonic differences (voice quality, not pitch), and
  ``loudnessPeaksPerSec`` is a rate (rhythm, not loudness).

Names and units: Eyben et al., "The Geneva Minimalistic Acoustic Parameter Set (GeMAPS)", 2016. A coefficient
of variation (``stddevNorm``) and an MFCC have no unit.
"""

from __future__ import annotations

from typing import Literal

import pandas as pd

from otoscope.errors import InputError, nearest


def egemaps_families(table: Literal["paper", "corrected"] | str = "corrected") -> pd.DataFrame:
    """Return ``name, unit, family`` of the 88 functionals, in openSMILE's order.

    Raises
    ------
    InputError
        If `table` is neither "paper" nor "corrected".
    """
    columns = {"paper": 2, "corrected": 3}
    if table not in columns:
        raise InputError(f"no family table '{table}'{nearest(table, columns)} (paper, corrected)")
    rows = [(row[0], row[1], row[columns[table]]) for row in _EGEMAPS]
    return pd.DataFrame(rows, columns=["name", "unit", "family"])


# name, unit, family by the paper's rules, corrected family
_EGEMAPS = (
    ("F0semitoneFrom27.5Hz_sma3nz_amean", "semitone", "pitch", "pitch"),
    ("F0semitoneFrom27.5Hz_sma3nz_stddevNorm", "", "pitch", "pitch"),
    ("F0semitoneFrom27.5Hz_sma3nz_percentile20.0", "semitone", "pitch", "pitch"),
    ("F0semitoneFrom27.5Hz_sma3nz_percentile50.0", "semitone", "pitch", "pitch"),
    ("F0semitoneFrom27.5Hz_sma3nz_percentile80.0", "semitone", "pitch", "pitch"),
    ("F0semitoneFrom27.5Hz_sma3nz_pctlrange0-2", "semitone", "pitch", "pitch"),
    ("F0semitoneFrom27.5Hz_sma3nz_meanRisingSlope", "semitone/s", "pitch", "pitch"),
    ("F0semitoneFrom27.5Hz_sma3nz_stddevRisingSlope", "semitone/s", "pitch", "pitch"),
    ("F0semitoneFrom27.5Hz_sma3nz_meanFallingSlope", "semitone/s", "pitch", "pitch"),
    ("F0semitoneFrom27.5Hz_sma3nz_stddevFallingSlope", "semitone/s", "pitch", "pitch"),
    ("loudness_sma3_amean", "loudness", "loudness", "loudness"),
    ("loudness_sma3_stddevNorm", "", "loudness", "loudness"),
    ("loudness_sma3_percentile20.0", "loudness", "loudness", "loudness"),
    ("loudness_sma3_percentile50.0", "loudness", "loudness", "loudness"),
    ("loudness_sma3_percentile80.0", "loudness", "loudness", "loudness"),
    ("loudness_sma3_pctlrange0-2", "loudness", "loudness", "loudness"),
    ("loudness_sma3_meanRisingSlope", "loudness/s", "loudness", "loudness"),
    ("loudness_sma3_stddevRisingSlope", "loudness/s", "loudness", "loudness"),
    ("loudness_sma3_meanFallingSlope", "loudness/s", "loudness", "loudness"),
    ("loudness_sma3_stddevFallingSlope", "loudness/s", "loudness", "loudness"),
    ("spectralFlux_sma3_amean", "", "spectral", "spectral"),
    ("spectralFlux_sma3_stddevNorm", "", "spectral", "spectral"),
    ("mfcc1_sma3_amean", "", "mfcc", "mfcc"),
    ("mfcc1_sma3_stddevNorm", "", "mfcc", "mfcc"),
    ("mfcc2_sma3_amean", "", "mfcc", "mfcc"),
    ("mfcc2_sma3_stddevNorm", "", "mfcc", "mfcc"),
    ("mfcc3_sma3_amean", "", "mfcc", "mfcc"),
    ("mfcc3_sma3_stddevNorm", "", "mfcc", "mfcc"),
    ("mfcc4_sma3_amean", "", "mfcc", "mfcc"),
    ("mfcc4_sma3_stddevNorm", "", "mfcc", "mfcc"),
    ("jitterLocal_sma3nz_amean", "", "quality", "quality"),
    ("jitterLocal_sma3nz_stddevNorm", "", "quality", "quality"),
    ("shimmerLocaldB_sma3nz_amean", "dB", "quality", "quality"),
    ("shimmerLocaldB_sma3nz_stddevNorm", "", "quality", "quality"),
    ("HNRdBACF_sma3nz_amean", "dB", "quality", "quality"),
    ("HNRdBACF_sma3nz_stddevNorm", "", "quality", "quality"),
    ("logRelF0-H1-H2_sma3nz_amean", "dB", "pitch", "quality"),
    ("logRelF0-H1-H2_sma3nz_stddevNorm", "", "pitch", "quality"),
    ("logRelF0-H1-A3_sma3nz_amean", "dB", "pitch", "quality"),
    ("logRelF0-H1-A3_sma3nz_stddevNorm", "", "pitch", "quality"),
    ("F1frequency_sma3nz_amean", "Hz", "formants", "formants"),
    ("F1frequency_sma3nz_stddevNorm", "", "formants", "formants"),
    ("F1bandwidth_sma3nz_amean", "Hz", "formants", "formants"),
    ("F1bandwidth_sma3nz_stddevNorm", "", "formants", "formants"),
    ("F1amplitudeLogRelF0_sma3nz_amean", "dB", "formants", "formants"),
    ("F1amplitudeLogRelF0_sma3nz_stddevNorm", "", "formants", "formants"),
    ("F2frequency_sma3nz_amean", "Hz", "formants", "formants"),
    ("F2frequency_sma3nz_stddevNorm", "", "formants", "formants"),
    ("F2bandwidth_sma3nz_amean", "Hz", "formants", "formants"),
    ("F2bandwidth_sma3nz_stddevNorm", "", "formants", "formants"),
    ("F2amplitudeLogRelF0_sma3nz_amean", "dB", "formants", "formants"),
    ("F2amplitudeLogRelF0_sma3nz_stddevNorm", "", "formants", "formants"),
    ("F3frequency_sma3nz_amean", "Hz", "formants", "formants"),
    ("F3frequency_sma3nz_stddevNorm", "", "formants", "formants"),
    ("F3bandwidth_sma3nz_amean", "Hz", "formants", "formants"),
    ("F3bandwidth_sma3nz_stddevNorm", "", "formants", "formants"),
    ("F3amplitudeLogRelF0_sma3nz_amean", "dB", "formants", "formants"),
    ("F3amplitudeLogRelF0_sma3nz_stddevNorm", "", "formants", "formants"),
    ("alphaRatioV_sma3nz_amean", "dB", "spectral", "spectral"),
    ("alphaRatioV_sma3nz_stddevNorm", "", "spectral", "spectral"),
    ("hammarbergIndexV_sma3nz_amean", "dB", "spectral", "spectral"),
    ("hammarbergIndexV_sma3nz_stddevNorm", "", "spectral", "spectral"),
    ("slopeV0-500_sma3nz_amean", "dB/Hz", "spectral", "spectral"),
    ("slopeV0-500_sma3nz_stddevNorm", "", "spectral", "spectral"),
    ("slopeV500-1500_sma3nz_amean", "dB/Hz", "spectral", "spectral"),
    ("slopeV500-1500_sma3nz_stddevNorm", "", "spectral", "spectral"),
    ("spectralFluxV_sma3nz_amean", "", "spectral", "spectral"),
    ("spectralFluxV_sma3nz_stddevNorm", "", "spectral", "spectral"),
    ("mfcc1V_sma3nz_amean", "", "mfcc", "mfcc"),
    ("mfcc1V_sma3nz_stddevNorm", "", "mfcc", "mfcc"),
    ("mfcc2V_sma3nz_amean", "", "mfcc", "mfcc"),
    ("mfcc2V_sma3nz_stddevNorm", "", "mfcc", "mfcc"),
    ("mfcc3V_sma3nz_amean", "", "mfcc", "mfcc"),
    ("mfcc3V_sma3nz_stddevNorm", "", "mfcc", "mfcc"),
    ("mfcc4V_sma3nz_amean", "", "mfcc", "mfcc"),
    ("mfcc4V_sma3nz_stddevNorm", "", "mfcc", "mfcc"),
    ("alphaRatioUV_sma3nz_amean", "dB", "spectral", "spectral"),
    ("hammarbergIndexUV_sma3nz_amean", "dB", "spectral", "spectral"),
    ("slopeUV0-500_sma3nz_amean", "dB/Hz", "spectral", "spectral"),
    ("slopeUV500-1500_sma3nz_amean", "dB/Hz", "spectral", "spectral"),
    ("spectralFluxUV_sma3nz_amean", "", "spectral", "spectral"),
    ("loudnessPeaksPerSec", "1/s", "loudness", "rhythm"),
    ("VoicedSegmentsPerSec", "1/s", "rhythm", "rhythm"),
    ("MeanVoicedSegmentLengthSec", "s", "rhythm", "rhythm"),
    ("StddevVoicedSegmentLengthSec", "s", "rhythm", "rhythm"),
    ("MeanUnvoicedSegmentLength", "s", "rhythm", "rhythm"),
    ("StddevUnvoicedSegmentLength", "s", "rhythm", "rhythm"),
    ("equivalentSoundLevel_dBp", "dB", "loudness", "loudness"),
)
