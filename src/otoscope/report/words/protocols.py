"""What the choice of protocol does, in sentences; and how its numbers are written."""

from __future__ import annotations

import pandas as pd
from markupsafe import Markup

from otoscope import wording
from otoscope.report.numbers.protocols import HEADLINES, Headline, over_encoders
from otoscope.report.words.finding import Finding


def switch_findings(table: pd.DataFrame) -> list[Finding]:
    """Say for each headline number which rules move it most, and how many do not; from the table alone."""
    means = over_encoders(table)
    alone, sound = means[means["role"] == "switch"], means[means["role"] == "sound"]
    found = []
    for headline in HEADLINES:
        column, change = headline.column, f"d_{headline.column}"
        first, last = means.iloc[0], (sound.iloc[0] if len(sound) else None)
        known = alone.dropna(subset=[change])
        if known.empty or pd.isna(first[column]):
            continue
        text = f"{write_value(first[column], headline)} by the published rules"
        if last is not None:
            text += f", {write_value(last[column], headline)} by sound ones ({write_change(last[change], headline)})"
        text += "."
        order = known.reindex(known[change].abs().sort_values(ascending=False, kind="stable").index)
        moved = order[order[change].abs() >= headline.small]
        if moved.empty:
            text += f" No rule turned alone moves it by {write_least(headline)} or more."
        else:
            named = [
                f"“{row.switch}” ({write_change(getattr(row, change), headline)})"
                for row in moved.head(3).itertuples()
            ]
            text += f" Of {len(known)} rules turned alone, {len(moved)} {'moves' if len(moved) == 1 else 'move'} it by "
            text += f"{write_least(headline)} or more"
            text += f"; most of all {wording.listing(named)}." if len(moved) > 1 else f": {named[0]}."
            total = known[change].sum()
            if last is not None and abs(total - last[change]) >= headline.small:
                text += (
                    f" One by one the changes add up to {write_change(total, headline)}, not to that of all "
                )
                text += "together: rules act on one another, and the sound protocol has rules of its own beside these."
        found.append(Finding(wording.sentence_case(headline.name), text))
    n = int((alone["note"] != "").sum())
    if n:
        text = f"{n} of {len(alone)} listed differences could not be turned here; the table below says why for each."
        found.append(Finding("What cannot show", text))
    return found


def write_value(value: float, headline: Headline) -> str:
    """Write a headline number."""
    if headline.column == "completeness_gain":
        return wording.signed(value)
    return wording.score(value, headline.metric)


def write_change(value: float, headline: Headline, *, loud: bool = False) -> str:
    """Write how a headline number changes; in bold if `loud` and it is no small change."""
    text = "0" if value == 0 else wording.difference(value, headline.metric)
    return Markup("<b>{}</b>").format(text) if loud and abs(value) >= headline.small else text


def write_least(headline: Headline) -> str:
    """Write the least change that is not small."""
    if headline.metric == "accuracy":
        return f"{100 * headline.small:g}\u00a0{'point' if headline.small == 0.01 else 'points'}"
    return wording.number(headline.small)
