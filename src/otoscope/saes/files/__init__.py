"""Files of other libraries: read AudioSAE, dictionary_learning, SAELens and sparsify; write SAELens."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "audiosae": ["read_audiosae"],
        "dictionary_learning": ["read_dictionary"],
        "saelens": ["read_saelens", "write_saelens"],
        "sparsify": ["read_sparsify"],
    },
)
