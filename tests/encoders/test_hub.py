"""Models by hub id, against a small local server that speaks as much of the hub's protocol as that needs."""

from __future__ import annotations

import pytest
from hub_server import COMMIT, address_of, hub_server, run

import otoscope

from .written import publish

LOAD = """
    import otoscope
    from otoscope.errors import ModelError
    for name in {names}:
        try:
            encoder = otoscope.load_encoder(name, device="cpu")
            print(encoder.name, encoder.n_layers, encoder.provenance()["model"], encoder.provenance()["revision"])
        except ModelError as error:
            print("refused:", error)
    """


@pytest.mark.slow  # two processes that import all anew; saes/files/test_hub.py fetches too
def test_it_is_fetched_once_then_found_without_a_network(tiny_encoder, tmp_path):
    name = "someone/their-hubert"
    expected = f"someone--their-hubert 2 {name} {COMMIT}"
    with hub_server(name) as hub:
        address = address_of(hub)
        hub.files |= {file.name: file.read_bytes() for file in tiny_encoder.iterdir()}
        hub.files |= {"README.md": b"# Theirs", "pytorch_model.bin": b"pickled", "tf_model.h5": b"not for us"}
        printed = run(address, tmp_path, LOAD.format(names=[name, "someone/their-hubart"]))
        assert expected in printed
        assert "the hub has no model 'someone/their-hubart'" in printed
    (snapshot,) = tmp_path.glob("hub/models--*/snapshots/*")
    assert {file.name for file in snapshot.iterdir()} == {file.name for file in tiny_encoder.iterdir()}
    here = otoscope.load_encoder(snapshot, device="cpu").provenance()["weights_sha256"]
    assert here == otoscope.load_encoder(tiny_encoder, device="cpu").provenance()["weights_sha256"]
    printed = run(address, tmp_path, LOAD.format(names=[name]))  # nobody answers there any more
    assert expected in printed
    assert "Retrying" not in printed


def test_no_network_and_nothing_cached_is_said_at_once(tmp_path):
    with hub_server("any/model") as hub:
        address = address_of(hub)
    printed = run(address, tmp_path, LOAD.format(names=["facebook/hubert-base-ls960"]))
    assert "refused: cannot reach the hub for 'facebook/hubert-base-ls960'" in printed
    assert "hf download facebook/hubert-base-ls960 --local-dir FOLDER" in printed
    assert "Retrying" not in printed


@pytest.mark.slow  # a process that imports all anew
def test_a_written_family_is_reached_by_hub_id_and_short_name(tmp_path):
    name = "OpenMuQ/MuQ-large-msd-iter"
    folder = publish("muq", tmp_path / "muq")
    with hub_server(name) as hub:
        address = address_of(hub)
        hub.files |= {file.name: file.read_bytes() for file in folder.iterdir()}
        hub.files |= {"pytorch_model.bin": b"pickled"}
        expected = f"muq 3 {name} {COMMIT}"
        printed = run(address, tmp_path, LOAD.format(names=[name, "muq"]))
        assert printed.count(expected) == 2
        assert "muq may not be used commercially: code MIT, weights CC BY-NC 4.0" in printed
