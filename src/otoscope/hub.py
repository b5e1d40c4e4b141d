"""The Hugging Face Hub: files of a repository, fetched or found in the cache."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Sequence
from pathlib import Path

from otoscope.errors import ModelError, nearest


def fetch(
    repo_id: str,
    patterns: Sequence[str],
    *,
    one_of: Sequence[str] = (),
    revision: str | None = None,
    known: Iterable[str] = (),
) -> Path:
    """Return the folder of a repository's files, fetched if they are not cached; the commit is its name.

    Parameters
    ----------
    repo_id : str
        ``owner/name``.
    patterns : sequence of str
        Of the files wanted.
    one_of : sequence of str
        Further patterns, of which the first is wanted that the repository has files of.
    revision : str, optional
        Branch, tag or commit.
    known : iterable of str
        Repositories that may have been meant, for the error.

    Raises
    ------
    ModelError
        If there is no such repository, or it can be neither fetched nor found in the cache; the message says what to
        put where.
    """
    from huggingface_hub import HfApi, constants, snapshot_download
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

    try:
        # Of the hub's calls this one is tried once only: without a network the cache is reached at once.
        info = HfApi().model_info(repo_id, revision=revision, timeout=10)
        there = [file.rfilename for file in info.siblings or []]
        chosen = [kind for kind in one_of if fnmatch.filter(there, kind)] or list(one_of)
        return Path(snapshot_download(repo_id, revision=revision, allow_patterns=[*patterns, *chosen[:1]]))
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        at = f" at revision {revision}" if revision else ""
        raise ModelError(
            f"the hub has no model '{repo_id}'{at}{nearest(repo_id, known)} "
            "(a private or gated one needs `hf auth login`)"
        ) from error
    except Exception as offline:  # the hub's HTTP library, whose errors these may be, changes
        found = cached(repo_id, patterns, one_of=one_of, revision=revision)
        if found is None:
            reason = next(iter(str(offline).splitlines()), "")
            raise ModelError(
                f"cannot reach the hub for '{repo_id}', and it is not in the cache ({constants.HF_HUB_CACHE}). "
                f"On a machine with network run `hf download {repo_id} --local-dir FOLDER`, copy FOLDER here, and "
                f"give its path instead ({type(offline).__name__}: {reason})"
            ) from offline
        return found


def cached(
    repo_id: str, patterns: Sequence[str], *, one_of: Sequence[str] = (), revision: str | None = None
) -> Path | None:
    """Return the folder of what `fetch` fetched before, None if it was not, or not all of it."""
    from huggingface_hub import snapshot_download

    for kind in one_of or patterns[:1]:
        try:
            # Asked for by the patterns it was fetched by: without them the hub's library calls a folder incomplete.
            found = snapshot_download(
                repo_id, revision=revision, local_files_only=True, allow_patterns=[*patterns, kind]
            )
        except Exception:  # the hub's errors for that change between versions
            continue
        if list(Path(found).glob(kind)):
            return Path(found)
    return None
