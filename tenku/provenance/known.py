"""The whole pattern of a clip that is known: which frames carry it, and whether a picture holds it faintly."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from tenku.provenance import code, geometry, invisible
from tenku.provenance.code import Payload
from tenku.provenance.geometry import TILE, Plane


def presence(views: list[Plane], finding: invisible.Finding) -> list[float]:
    """For each of `planes`, how well the whole pattern of a finding with a payload fits: standard deviations."""
    assert finding.payload is not None
    assert finding.place is not None
    key = invisible.keys()[-1] if finding.own_key else invisible.PUBLIC_KEY
    chips = invisible.chips_of(key)
    signs = signs_of(chips, finding.payload)
    scores = []
    for view in views:
        upright = invisible.waves(view, finding.place, key) * chips.turned(finding.shift)
        scores.append(invisible.score_of(np.stack([upright.real, upright.imag], 1) * signs))
    return scores


def confirm(view: Plane, size: tuple[int, int], payload: Payload, shift: tuple[float, float],
            suspects: int = 1) -> invisible.Finding:
    """Whether a picture carries the pattern of a clip that it looks like: fainter than what can be read unaided.

    view: the mean of `planes`; shift: the tile's, as the writer's own reader found it; suspects: how many clips are
    tried. All chips count, and few places are searched. The writer chose the shift, of 4096, to suit this very picture,
    unmarked: each counts as if it had been searched.
    """
    best, tried = invisible.Finding(False, 0.0, 1.0), 0
    for number, key in enumerate(invisible.keys()):
        chips = invisible.chips_of(key)
        signs = signs_of(chips, payload)
        for place in geometry.straight(*size):
            if place.turned or place.made_with != geometry.tiles_of(*size):
                continue
            values = invisible.waves(view, place, key) * chips.turned(shift)
            each = np.stack([values.real, values.imag], 1) * signs
            for cut in invisible.CUTS:
                tried += 1
                score = invisible.score_of(each[chips.radius <= cut])
                if score > best.score:
                    best = invisible.Finding(False, score, 1.0, payload, place, number > 0, shift)
    chance = min(1.0, tried * suspects * TILE**2 * invisible.by_chance(best.score))
    if chance > invisible.FALSE_POSITIVES * invisible.SHARE:
        return invisible.Finding(False, best.score, chance)
    return replace(best, found=True, chance=chance)


def signs_of(chips: invisible.Chips, payload: Payload) -> npt.NDArray[np.float32]:
    """[F, 2] of all chips."""
    signs = chips.signs.copy()
    signs[chips.data[:, 0], chips.data[:, 1]] *= code.encode(code.pack(payload))[chips.bit]
    return signs
