"""Label tracks, TextGrids and ELAN's exports as those programs write them."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile

from otoscope.datasets import load_clips
from otoscope.errors import InputError

RATE = 8_000
LONG = """File type = "ooTextFile"
Object class = "TextGrid"

xmin = 0
xmax = 4
tiers? <exists>
size = 2
item []:
    item [1]:
        class = "IntervalTier"
        name = "words"
        xmin = 0
        xmax = 4
        intervals: size = 3
        intervals [1]:
            xmin = 0
            xmax = 1.5
            text = ""
        intervals [2]:
            xmin = 1.5
            xmax = 2.25
            text = "say ""12"" "
        intervals [3]:
            xmin = 2.25
            xmax = 4
            text = "no"
    item [2]:
        class = "TextTier"
        name = "clicks"
        xmin = 0
        xmax = 4
        points: size = 1
        points [1]:
            number = 0.5
            mark = "k"
"""
SHORT = """File type = "ooTextFile"
Object class = "TextGrid"

0
4
<exists>
2
"IntervalTier"
"words"
0
4
3
0
1.5
""
1.5
2.25
"say ""12"" "
2.25
4
"no"
"TextTier"
"clicks"
0
4
1
0.5
"k"
"""


@pytest.fixture
def talk(tmp_path):
    soundfile.write(tmp_path / "talk.wav", 0.1 * np.ones(4 * RATE), RATE)
    return tmp_path


def found(clips) -> list:
    return clips[["start_s", "stop_s", "label"]].to_numpy().tolist()


def test_an_audacity_label_track(talk):
    (talk / "talk.txt").write_text(
        '0.500000\t1.000000\towl\n\\\t500.0\t900.5\n2.0\t2.25\tsaid "hm\n3.0\t3.5\t\n'
    )
    clips = load_clips("audacity", root=talk)
    assert found(clips) == [[0.5, 1.0, "owl"], [2.0, 2.25, 'said "hm']]
    assert (clips.low_hz[0], clips.high_hz[0]) == (500.0, 900.5)
    assert clips.attrs["left_out"] == ["1 selections without 'label', such as talk#3"]
    (talk / "talk.txt").write_text("0.5\t1.0\towl\nx\t2.0\ty\n")
    with pytest.raises(InputError, match="line 2 is no label"):
        load_clips("audacity", root=talk)
    (talk / "talk.txt").write_text("windy\n")
    with pytest.raises(InputError, match="holds no label track"):
        load_clips("audacity", root=talk)


@pytest.mark.parametrize("text", [LONG, SHORT])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_a_tier_of_a_textgrid(talk, text, encoding):
    (talk / "talk.TextGrid").write_bytes(text.encode(encoding))
    clips = load_clips("textgrid", root=talk)
    assert found(clips) == [[1.5, 2.25, 'say "12"'], [2.25, 4.0, "no"]]
    assert clips.recording.unique().tolist() == ["talk.wav"]


def test_textgrids_that_leave_a_doubt(talk):
    (talk / "talk.TextGrid").write_text(LONG)
    with pytest.raises(InputError, match="tier 'clicks' is a tier of points"):
        load_clips("textgrid", root=talk, tier="clicks")
    with pytest.raises(InputError, match="tier 'wrds' is not there; did you mean 'words'"):
        load_clips("textgrid", root=talk, tier="wrds")
    (talk / "talk.TextGrid").write_text(
        LONG.replace('"TextTier"', '"IntervalTier"').partition("        points:")[0]
    )
    with pytest.raises(InputError, match="is damaged"):
        load_clips("textgrid", root=talk)


def test_an_export_of_elan(talk):
    columns = (
        "Tier\tBegin Time - hh:mm:ss.ms\tBegin Time - ss.msec\tEnd Time - hh:mm:ss.ms\tEnd Time - ss.msec\t"
    )
    columns += "Annotation"
    rows = [
        "words\t00:00:01.500\t1.5\t00:00:02.250\t2.25\thello",
        "gesture\t00:00:03.000\t3.0\t00:00:03.500\t3.5\tnod",
    ]
    (talk / "talk.txt").write_text("\n".join([columns, *rows]) + "\n")
    clips = load_clips("elan", root=talk)
    assert found(clips) == [[1.5, 2.25, "hello"], [3.0, 3.5, "nod"]]
    assert clips.tier.tolist() == ["words", "gesture"]
    assert found(load_clips("elan", root=talk, tier="gesture")) == [[3.0, 3.5, "nod"]]
    (talk / "talk.txt").write_text("Begin Time - msec\tEnd Time - msec\tspeech\n1500\t2250\thello\n")
    assert found(load_clips("elan", root=talk)) == [[1.5, 2.25, "hello"]]
