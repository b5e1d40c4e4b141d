from .activity import Activity, Codes, codes_of_array, codes_of_store, measure_activity, sampled_rows
from .describe import Description, describe_codes, describe_latents
from .evidence import factor_evidence, label_evidence, labels_of
from .ground import Ground
from .judging import judge_names
from .names import name_latents
from .rules import NO_MEANING, Condition, Rule

__all__ = [
    "Activity",
    "Codes",
    "Condition",
    "Description",
    "Ground",
    "NO_MEANING",
    "Rule",
    "codes_of_array",
    "codes_of_store",
    "describe_codes",
    "describe_latents",
    "factor_evidence",
    "judge_names",
    "label_evidence",
    "labels_of",
    "measure_activity",
    "name_latents",
    "sampled_rows",
]
