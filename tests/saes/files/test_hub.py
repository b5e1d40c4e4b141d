"""Push to and load from a Hub: a small local server that speaks as much of its protocol as that needs."""

from hub_server import COMMIT, address_of, hub_server, run


def test_push_and_load(tmp_path):
    with hub_server("me/saes") as hub:
        printed = run(
            address_of(hub),
            tmp_path,
            """
            import torch
            from otoscope.errors import ModelError
            from otoscope.saes import SparseAutoencoder, make_config
            from otoscope.saes.base import build_sae

            sae = build_sae(make_config("topk", n_latents=16, k=3), 6, seed=1)
            sae.layer = 4
            sae.about = {"activations": {"model": "mine", "folder": "/home/me/models/mine"}}
            print(sae.push_to_hub("me/saes"))
            sae.push_to_hub("me/saes", folder="layer_4/topk", private=True, message="One more")
            for source in ("me/saes", "me/saes/layer_4/topk"):
                loaded = SparseAutoencoder.from_pretrained(source)
                assert torch.equal(loaded.encoder_weight, sae.encoder_weight) and loaded.layer == 4
            for source in ("me/saes/nowhere", "me/other", "nothing"):
                try:
                    SparseAutoencoder.from_pretrained(source)
                except ModelError as error:
                    print("refused:", error)
            try:
                sae.push_to_hub("me/forbidden")
            except ModelError as error:
                print("refused:", error)
            """,
        )
        assert f"/me/saes/commit/{COMMIT}" in printed
        assert "me/saes has no folder 'nowhere'" in printed
        assert "me/other is no directory, and not to be had from the Hub" in printed
        assert "nothing: no such directory" in printed
        assert "could not push to me/forbidden" in printed
        assert set(hub.files) == {
            f"{folder}{name}"
            for folder in ("", "layer_4/topk/")
            for name in ("README.md", "config.json", "model.safetensors")
        }
        assert b"library_name: otoscope" in hub.files["README.md"]
        assert not any(b"/home/me" in content for content in hub.files.values())
        assert b'"mine"' in hub.files["config.json"]
