"""The model card, written from the record of the training."""

_TEMPLATE = """\
---
license: apache-2.0
library_name: transformers
pipeline_tag: feature-extraction
tags: [audio, hubert, synthetic]
---
# otoscope-mini

A HuBERT: {n_blocks} blocks of width {width} ({million_parameters:.2f} M parameters, 16 kHz, 50 frames per second),
small enough to live in a Python package. It exists so that Otoscope's demo and tests run offline, on a model whose
training is known to the last sample. It is no speech or music model for other work.

```python
import otoscope as oto
encoder = oto.load_encoder("otoscope-mini")
```
It is also a plain `transformers.HubertModel`: `HubertModel.from_pretrained(<this folder>)`. The weights are stored as
float16 and computed with as float32. Input: mono, 16 kHz, zero mean and unit variance per clip
(`preprocessor_config.json`), so it does not know levels.

## Training
- **Data**: {corpus_clips:,} clips ({corpus_h:.2f} h) of `synthsing`'s pretraining pool: {n_singers} synthetic singers,
  ten techniques, five vowels, seed {seed}. No recordings, no labels. Data sets are drawn from another pool: the
  model has heard none of their singers or clips.
- **Objective**: masked prediction of clustered acoustic units (HuBERT, Hsu et al. 2021, arXiv:2106.07447): half of
  the frames masked in spans of {span_ms} ms; k-means units of {unit_sets},
  each with a head of its own. Noise and other clips are mixed into the input, not into the targets (WavLM, Chen et
  al. 2022, arXiv:2110.13900).
- **Length**: {steps:,} steps of {batch_audio_s:g} s of audio, {stages} stage(s), {audio_heard_h:.1f} h heard,
  {train_minutes:.0f} minutes on {machine}. Muon for weight matrices (peak rate
  {matrix_learning_rate:g}), AdamW for the rest ({learning_rate:g}), bfloat16 autocast.
- **Versions**: Python {python}, torch {torch}, transformers {transformers}, NumPy {numpy}. All numbers:
  `training.json`.

To train it again: `python training/otoscope_mini/train.py --out DIR` in Otoscope's repository; `DIR/model` is this
folder.

## What its layers know
Hidden states averaged over time, on `synthsing` (seed 0). Accuracy: ten singing techniques, logistic regression,
trained on the train singers, measured on {n} clips of the {side} singers. f0: R2 of log f0 by ridge regression, out of
fold, grouped by singer, all {n_all} clips. Layer 0 is what enters the first block.

| representation | accuracy | f0 R2 |
|---|---|---|
{table}

## Limits
Trained on one synthesiser's voices only: single notes of about two seconds, five vowels, mild rooms and noise. What
its layers show on recorded speech or singing says little about models trained on such.

Licence: Apache-2.0.
"""


def model_card(record: dict) -> str:
    """README.md of the packaged model; `record` is what `training.json` holds."""
    settings, scores = record["settings"], record["scores"]
    unit_sets = "timbre, pitch and movement"
    if record["stages"] > 1:
        unit_sets += ", then also of whole phrases (1 s)"
    rows = [("mean MFCC (20)", scores["mfcc"])]
    rows += [(f"layer {row['layer']}", row) for row in scores["layers"]]
    values = {
        **settings, **record, **record["versions"], **scores,
        "million_parameters": record["parameters"] / 1e6,
        "span_ms": settings["mask_span"] * 20,
        "steps": record["steps"],
        "unit_sets": unit_sets,
        "train_minutes": record["train_s"] / 60,
        "table": "\n".join(f"| {name} | {row['accuracy']:.3f} | {row['f0_r2_cv']:.3f} |" for name, row in rows),
    }  # fmt: skip
    return _TEMPLATE.format(**values)
