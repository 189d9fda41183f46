"""How well the classifier knows a Tenku model's clips: `tenku eval classifier`, whose tables are docs/classifier.md's.

Clips with the same scenes, words, sizes and lengths go the same ways: rendered truth, what the model dreams from the
truth's caption, both through the codec, and real footage. Ours are those that it dreams; sent through the codec once
more they count apart, as a damage of our own. No clip was learnt from. One row for each clip and way, appended to
`rows.jsonl`: the same command again continues. No picture is kept.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tenku import media
from tenku.data.shards import Item, iter_clips, shard_paths
from tenku.evaluation.attacks import ATTACKS, sent
from tenku.evaluation.metrics import wilson
from tenku.media import Frames
from tenku.provenance import classifier, embedding, visible
from tenku.provenance.code import Payload
from tenku.rng import stream
from tenku.training.twins import KINDS, OURS, dreamt, footage, of_scene
from tenku.types import Clip

Say = Callable[[str], None]
Numbers = npt.NDArray[np.float64]
MATCHED = "matched"  # the way of all clips: a codec and a quality that are drawn, the same for what belongs together
SEALED = "both marks"  # written with the marks of the seal, whoever made it
SEED = 40_000
STRAY = 0.001  # rate of false positives at which recall is told
FOLDS = 5
_WEIGHTS = "5a" + "0" * 62
REAL, AGAIN = KINDS.index("real"), KINDS.index("dreamt, through the codec")


@dataclass(frozen=True)
class Settings:
    """What to measure."""

    out: Path  # folder of rows.jsonl, classifier.json and classifier.md
    data: Path  # shards of a world that neither the model nor the classifier saw
    real: Path | None = None  # footage that the classifier did not see
    model: str = "nano"
    others: tuple[str, ...] = ()  # folders of checkpoints that it did not see
    limit: int = 300  # clips of the world with a dreamt twin; the others are for false positives
    attacked: int = 24  # of these, and of real ones, that go all ways
    weights: Path = classifier.BUNDLED


def evaluate(settings: Settings, say: Say) -> dict[str, Any]:
    """All figures, as plain JSON values; also written to `classifier.json`."""
    from tqdm import tqdm

    network = classifier.load(settings.weights)
    settings.out.mkdir(parents=True, exist_ok=True)
    file = settings.out / "rows.jsonl"
    rows = _rows(file)
    say(f"{len(rows)} rows are there")
    with file.open("a") as out, tqdm(desc="rows", unit="row", initial=len(rows), disable=None) as bar:
        for row in measured(settings, network, {_name(row) for row in rows}):
            rows.append(row)
            out.write(json.dumps(row) + "\n")
            out.flush()
            bar.update()
    report = {"settings": asdict(settings) | {"out": "", "data": "", "real": "", "weights": ""},
              "reading": {name: getattr(network, name) for name in ("slope", "offset", "made", "other")},
              **figures(rows, network)}
    (settings.out / "classifier.json").write_text(json.dumps(report, indent=1))
    return report


def _rows(file: Path) -> list[dict[str, Any]]:
    """What was measured before; a line that was cut off is measured again."""
    found = []
    for line in file.read_text().splitlines() if file.exists() else []:
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found


def _name(row: dict[str, Any]) -> tuple[str, int, str, str]:
    return row["clip"], row["kind"], row["way"], row["model"]


# -- clips and ways -------------------------------------------------------------------------------------------


def measured(settings: Settings, network: classifier.Classifier, there: set[tuple[str, int, str, str]],
             ) -> Iterator[dict[str, Any]]:
    """Rows that are not there yet."""
    def missing(clip: str, kinds: Sequence[int], model: str, attacked: bool) -> bool:
        return any((clip, kind, way, model) not in there for kind in kinds
                   for way in ((MATCHED, SEALED, *ATTACKS) if attacked and kind != AGAIN else (MATCHED,)))

    def go(clip: str, kind: int, frames: Frames, model: str = "", attacked: bool = False) -> Iterator[dict[str, Any]]:
        for way, size, seen in ways(frames, clip, attacked):
            if (clip, kind, way, model) not in there:
                yield {"clip": clip, "kind": kind, "way": way, "model": model, "score": _score(network, seen),
                       "bytes": size, "shape": list(frames.shape[:3])}

    from tenku.engines.bundled import load

    for number, item in enumerate(_items(settings)):
        attacked = number < settings.attacked
        twin = number < settings.limit
        if missing(item.key, range(4) if twin else (2, 3), "", attacked):
            codec = load(settings.model).codec
            for kind, frames in of_scene(item, settings.model if twin else "", codec, SEED).items():
                yield from go(item.key, kind, frames, "", attacked and kind != AGAIN)
    for model in settings.others:
        for _, item in zip(range(settings.limit), _items(settings), strict=False):
            if missing(item.key, (0,), model, False):
                yield from go(item.key, 0, dreamt(item, model, SEED), model)
    for number, path in enumerate(footage(settings.real)):
        attacked = number % max(1, len(footage(settings.real)) // max(1, settings.attacked)) == 0
        if missing(path.name, (REAL,), "", attacked):
            yield from go(path.name, REAL, media.read_clip(path).frames, "", attacked)


def _items(settings: Settings) -> Iterator[Item]:
    return iter_clips(settings.data, shards=shard_paths(settings.data))


def ways(frames: Frames, clip: str, attacked: bool) -> Iterator[tuple[str, int, Frames]]:
    """Each way's name, the bytes of its file (0 where that is not asked), and what comes out."""
    size, seen = sent(frames, stream(SEED, "classifying", clip))
    yield MATCHED, size, seen
    if not attacked:
        return
    payload = Payload.of(f"{stream(SEED, 'classifying mark', clip).integers(1 << 62):016x}", _WEIGHTS)
    yield SEALED, 0, _as_written(embedding.embed(visible.draw(frames, 16.0), payload))
    written = _as_written(frames)
    for name, attack in ATTACKS.items():
        if not (len(written) == 1 and attack.kind == "in time"):
            yield name, 0, attack.do(written)


def _as_written(frames: Frames) -> Frames:
    import io

    return media.decode(io.BytesIO(media.encode(Clip(frames, 16.0), ".mp4")), "mp4").frames


def _score(network: classifier.Classifier, frames: Frames) -> float | None:
    """None where there is nothing to look at."""
    score = network.look(frames).score
    return None if np.isnan(score) else round(score, 4)


# -- figures --------------------------------------------------------------------------------------------------


def figures(rows: Sequence[dict[str, Any]], network: classifier.Classifier) -> dict[str, Any]:
    """What the rows say: of matched clips, by kind, of trivial features, of other checkpoints, after each attack."""
    own = [row for row in rows if not row["model"]]
    matched = [row for row in own if row["way"] == MATCHED]
    others = [row for row in matched if row["kind"] >= OURS]
    limit = float(np.quantile(_scores(others, False), 1 - STRAY)) if others else 0.0

    def told(some: Sequence[dict[str, Any]]) -> dict[str, Any]:
        return compared(some, network, limit)

    found: dict[str, Any] = {
        "matched": told([row for row in matched if row["kind"] != AGAIN]),
        "again": told([row for row in matched if row["kind"] != 0]),
        "kinds": {KINDS[kind]: said([row for row in matched if row["kind"] == kind], network)
                  for kind in range(len(KINDS))},
        "calibration": calibration([row for row in matched if row["kind"] != AGAIN], network),
        "trivial": trivial(matched), "ways": {}, "others": {},
    }
    for way in (SEALED, *ATTACKS):
        found["ways"][way] = told([row for row in own if row["way"] == way])
    for model in dict.fromkeys(row["model"] for row in rows if row["model"]):
        found["others"][model] = told([row for row in rows if row["model"] == model] + others)
    return found


def _scores(rows: Sequence[dict[str, Any]], ours: bool) -> Numbers:
    """Where there is nothing to look at, the score says neither."""
    return np.array([0.0 if row["score"] is None else row["score"] for row in rows if (row["kind"] < OURS) == ours])


def said(rows: Sequence[dict[str, Any]], network: classifier.Classifier) -> dict[str, Any]:
    """How often it says what of clips of one kind."""
    says = [("cannot tell" if row["score"] is None else network.read(row["score"]).says) for row in rows]
    return {"count": len(says), **{word: says.count(word) for word in ("made", "cannot tell", "other")}}


def compared(rows: Sequence[dict[str, Any]], network: classifier.Classifier, limit: float) -> dict[str, Any]:
    """Ours against others: AUC, the share of ours over a limit, and what is said of them as it is shipped."""
    ours, others = _scores(rows, True), _scores(rows, False)
    if not len(ours) or not len(others):
        return {}
    return {"ours": len(ours), "others": len(others), "auc": round(auc(ours, others), 5),
            "recall": round(float((ours > limit).mean()), 4),
            "hits": int((ours >= network.made).sum()), "false hits": int((others >= network.made).sum()),
            "missed": int((ours <= network.other).sum())}


def auc(ours: Numbers, others: Numbers) -> float:
    """The chance that one of ours scores higher than one of the others (Mann and Whitney, 1947); ties count half."""
    both = np.concatenate([ours, others])
    _, where, counts = np.unique(both, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[where]
    return float((ranks[: len(ours)].sum() - len(ours) * (len(ours) + 1) / 2) / (len(ours) * len(others)))


def calibration(rows: Sequence[dict[str, Any]], network: classifier.Classifier) -> list[dict[str, float]]:
    """By tenths of the probability: clips, what was said on average, and the share of ours, if either is as likely."""
    p = np.array([network.read(row["score"] or 0.0).probability for row in rows])
    ours = np.array([row["kind"] < OURS for row in rows])
    weights = np.where(ours, 0.5 / max(1, ours.sum()), 0.5 / max(1, (~ours).sum()))
    found = []
    for tenth in range(10):
        some = (p >= tenth / 10) & (p < (tenth + 1) / 10 if tenth < 9 else p <= 1)
        if some.any():
            total = float(weights[some].sum())
            found.append({"count": int(some.sum()), "said": round(float((p * weights)[some].sum() / total), 3),
                          "ours": round(float((ours * weights)[some].sum() / total), 3)})
    return found


def trivial(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """AUC of a logistic regression on size, length, file size and bitrate, with their squares and products.

    Of clips that have twins, each fifth judged by what the other four say.
    """
    twins = {row["clip"] for row in rows if row["kind"] == 0}
    rows = [row for row in rows if row["clip"] in twins and row["kind"] not in (AGAIN, REAL)]
    plain = np.array([[np.log(row["bytes"]), np.log(row["bytes"] / np.prod(row["shape"])), *row["shape"]]
                      for row in rows], float)
    plain = (plain - plain.mean(0)) / (plain.std(0) + 1e-9)
    pairs = [plain[:, i] * plain[:, j] for i in range(plain.shape[1]) for j in range(i + 1)]
    x = np.column_stack([plain, *pairs, np.ones(len(rows))])
    ours = np.array([row["kind"] < OURS for row in rows], float)
    order = {clip: number % FOLDS for number, clip in enumerate(sorted(twins))}
    fold = np.array([order[row["clip"]] for row in rows])
    scores = np.zeros(len(rows))
    for number in range(FOLDS):
        scores[fold == number] = x[fold == number] @ _logistic(x[fold != number], ours[fold != number])
    return {"auc": round(auc(scores[ours > 0], scores[ours == 0]), 4), "clips": len(rows)}


def _logistic(x: Numbers, y: Numbers) -> Numbers:
    """Newton's method with a ridge of 1e-3 of the examples."""
    fit = np.zeros(x.shape[1])
    ridge = 1e-3 * len(x) * np.eye(x.shape[1])
    for _ in range(20):
        p = 1 / (1 + np.exp(-np.clip(x @ fit, -30, 30)))
        fit += np.linalg.solve((x.T * (p * (1 - p))) @ x + ridge, x.T @ (y - p) - ridge @ fit)
    return fit


def markdown(report: dict[str, Any]) -> str:
    """The tables of docs/classifier.md."""
    def share(hits: int, count: int, digits: int) -> str:
        low, high = wilson(hits / count, count)
        return f"{hits}/{count} ({100 * low:.{digits}f} to {100 * high:.{digits}f} %)"

    def line(name: str, row: dict[str, Any]) -> str:
        if not row:
            return f"| {name} | | | | | |"
        return (f"| {name} | {row['auc']:.4f} | {100 * row['recall']:.1f} % | {share(row['hits'], row['ours'], 0)} | "
                f"{share(row['false hits'], row['others'], 2)} | {row['missed']}/{row['ours']} |")

    head = ["| clips | AUC | recall at 0.1 % false | ours known | others taken for ours | ours missed |",
            "|---|---|---|---|---|---|"]
    out = [*head, line("matched", report["matched"]), line("ours through our codec once more", report["again"])]
    out += [line(f"checkpoint {Path(name).name}", row) for name, row in report["others"].items()]
    out += ["", "| kind | clips | made | cannot tell | other |", "|---|---|---|---|---|"]
    out += [f"| {kind} | {r['count']} | {r['made']} | {r['cannot tell']} | {r['other']} |"
            for kind, r in report["kinds"].items()]
    out += ["", f"Trivial features: AUC {report['trivial']['auc']:.3f} on {report['trivial']['clips']} clips", "",
            "| probability said | clips | ours, either as likely |", "|---|---|---|"]
    out += [f"| {100 * r['said']:.1f} % | {r['count']} | {100 * r['ours']:.1f} % |" for r in report["calibration"]]
    out += ["", *head, *(line(way, row) for way, row in report["ways"].items())]
    return "\n".join(out)
