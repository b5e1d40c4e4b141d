"""Whether a VocalSet on disk is whole: singers, techniques, files, and the oddities it is known for."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from otoscope.datasets.checks import listen
from otoscope.datasets.dataset import Findings
from otoscope.datasets.vocalset.folder import audio_root, list_files, studied
from otoscope.datasets.vocalset.names import (
    CONTEXTS,
    OTHER_TECHNIQUES,
    SINGERS,
    TECHNIQUES,
    TEST_SINGERS,
    expected_count,
    quirk_of,
)
from otoscope.errors import InputError


def check(root: str | Path, *, decode: bool = True) -> Findings:
    """Return what is missing, corrupt, unexpected or odd in a VocalSet on disk.

    Clips are counted by singer and technique against the published set, after repair and filter (``quirks="sound"``).
    """
    found = Findings("vocalset", Path(root))
    try:
        audio = audio_root(root)
    except InputError as error:
        found.problems.append(str(error))
        return found
    files = list_files(audio)
    found.problems += _missing_singers(files) + _strangers(audio, files)
    problems, notes = _lists(audio)
    found.problems += problems
    found.notes += notes + _oddities(audio, files)
    clips = studied(audio, files, quirks="sound")
    unreadable, notes = listen(list(clips["path"]), decode=decode)
    found.problems += unreadable.values()
    found.notes += notes
    clips = clips[~clips["path"].isin(unreadable)]
    found.n_clips = len(clips)
    counts = clips.groupby(["singer", "technique"]).size().unstack(fill_value=0)
    counts = counts.reindex(index=list(SINGERS), columns=list(TECHNIQUES), fill_value=0)
    found.counts = counts
    for singer in sorted(set(clips["singer"]), key=SINGERS.index):
        for technique in TECHNIQUES:
            n, expected = counts.loc[singer, technique], expected_count(singer, technique)
            if n != expected:
                found.problems.append(f"{singer}, {technique}: {n} clips; the published set has {expected}")
    return found


def _missing_singers(files: list[str]) -> list[str]:
    present = {path.partition("/")[0] for path in files}
    missing = [singer for singer in SINGERS if singer not in present]
    return [f"no recordings of {', '.join(missing)} ({len(missing)} of 20 singers)"] if missing else []


def _strangers(audio: Path, files: list[str]) -> list[str]:
    """Folders that are no singer's, no context and no technique."""
    found = [
        f"unexpected folder '{folder.name}' among the singers"
        for folder in sorted(audio.iterdir())
        if folder.is_dir() and folder.name not in SINGERS and not folder.name.startswith(("__MACOSX", "."))
    ]
    known = {*TECHNIQUES, *OTHER_TECHNIQUES, "vibrado"}
    for (singer, context, technique), n in Counter(tuple(path.split("/")[:3]) for path in files).items():
        if context not in CONTEXTS or technique not in known:
            found.append(f"unexpected folder '{singer}/{context}/{technique}' ({n} files)")
    return found


def _lists(audio: Path) -> tuple[list[str], list[str]]:
    """Compare the publisher's lists of singers, where they lie beside the folder, with what is built in."""
    problems, notes = [], []
    for name, singers in (
        ("test", TEST_SINGERS),
        ("train", tuple(s for s in SINGERS if s not in TEST_SINGERS)),
    ):
        file = audio.parent / f"{name}_singers_technique.txt"
        if not file.is_file():
            notes.append(f"{file.name} is not there; the split is built in")
            continue
        listed = set(file.read_text(errors="replace").split())
        if listed != set(singers):
            differ = ", ".join(sorted(listed ^ set(singers)))
            problems.append(f"{file.name} differs from the published split, which is used: {differ}")
    return problems, notes


def _oddities(audio: Path, files: list[str]) -> list[str]:
    notes = []
    seen = [(path, quirk) for path in files if (quirk := quirk_of(path)) is not None]
    for quirk in dict.fromkeys(quirk for _, quirk in seen):
        of_it = [path for path, other in seen if other is quirk]
        done = {"drop": "left out", "keep": "harmless: singer and technique come from the folders"}
        notes.append(
            f"{quirk.what}: {len(of_it)} files, such as {of_it[0]}; {done.get(quirk.repair, f'read as {quirk.repair}')}"
        )
    forks = [p for p in audio.parent.rglob("._*") if p.suffix.lower() == ".wav"]
    if forks:
        notes.append(f"{len(forks)} resource forks of macOS (._*): no recordings; passed over")
    return notes
