"""The Hugging Face Hub: where `from_pretrained` finds what is no directory, and where `push_to_hub` puts things."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from otoscope import hub
from otoscope.errors import ModelError


def download(source: str, *, revision: str | None = None) -> Path:
    """Fetch an autoencoder's files and return their directory.

    Parameters
    ----------
    source
        ``owner/name``, or ``owner/name/folder/in/it`` where a repository holds several.

    Raises
    ------
    ModelError
        If there is no such repository or folder, or it cannot be reached.
    """
    owner, _, rest = str(source).partition("/")
    name, _, folder = rest.partition("/")
    if not name or str(source).startswith((".", "/", "~")):
        raise ModelError(f"{source}: no such directory")
    files = (
        [f"{folder}/*", "config.json"] if folder else ["*.json", "*.safetensors", "*.csv", "*.md", "ae.pt"]
    )
    try:
        directory = hub.fetch(f"{owner}/{name}", files, revision=revision) / folder
    except ModelError as error:
        raise ModelError(f"{source} is no directory, and not to be had from the Hub: {error}") from error
    if not directory.is_dir():
        raise ModelError(f"{owner}/{name} has no folder '{folder}'")
    return directory


def push(sae: Any, repo_id: str, *, folder: str, private: bool, message: str) -> str:
    """Upload `sae` and its card; returns the commit's address.

    Raises
    ------
    ModelError
        If the Hub refuses, or cannot be reached.
    """
    from huggingface_hub import HfApi

    api = HfApi()
    about = sae.about
    heard = {key: value for key, value in about.get("activations", {}).items() if key != "folder"}
    with tempfile.TemporaryDirectory() as scratch:
        try:
            sae.about = about | (
                {"activations": heard} if heard else {}
            )  # where the encoder lay on this disk is nobody else's
            sae.save_pretrained(scratch)
        finally:
            sae.about = about
        try:
            api.create_repo(repo_id, private=private, exist_ok=True)
            commit = api.upload_folder(
                repo_id=repo_id, folder_path=scratch, path_in_repo=folder or None, commit_message=message
            )
        except Exception as error:  # its HTTP library, whose errors these may be, changes between versions
            raise ModelError(f"could not push to {repo_id}: {str(error).strip().splitlines()[0]}") from error
    return str(commit.commit_url)
