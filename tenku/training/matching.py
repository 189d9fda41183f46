"""Flow matching on packed groups: the loss, and the loop that fits a transformer to what a pool of clips holds.

Legend: B clips, N canvas tokens, S noise slots, L words, C channels.
"""

from __future__ import annotations

import copy
import functools
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from tenku import rng
from tenku.config import TransformerConfig
from tenku.data.latents import Group, Pool, caption_batch, repeats
from tenku.errors import UserError
from tenku.model import flow
from tenku.model.checkpoint import read_header
from tenku.model.motion import FEATURES, beside, nearness
from tenku.model.precision import autocast
from tenku.model.text import BUCKET, Words
from tenku.model.transformer import Transformer
from tenku.training.deal import Deal, Drawn, one_thread
from tenku.training.origin import Origin
from tenku.training.ranks import Ranks
from tenku.training.run import Ema, Optimizer, Run, learning_rate
from tenku.world import captions as world_captions

DROPOUT = 0.1  # share of captions left out, so that guidance has something to compare with
FOCUS, ASIDE = 6.0, 2.0  # how much more a token in the middle of a thing counts, and one on what stands around
PER_STEP_NOISE = 0.25  # share of groups whose latent steps have noise levels of their own


@dataclass(frozen=True)
class Fit:
    """How a transformer is fitted."""

    path: Path  # the averaged weights appear there; their folder is the run's
    origin: Origin  # what it learns from
    identity: str  # what must be equal for a folder's run to be continued
    steps: int
    tokens: int  # a step, context included
    groups: int  # that the budget is divided into
    rate: float  # peak learning rate
    seed: int
    ranks: Ranks
    refresh: int = 0  # steps between looks for new shards; 0: none


class Hands:
    """Twins of a model that share its weights and have gradients of their own, one for each group of a step.

    They work side by side, each on one thread: matrices of this size keep one core busier than two threads keep two.
    Gradients are added in the order of the groups, so the sum has the same bits on any number of cores. Those
    `in_turn` are worked on one after the other, by the model itself.
    """

    def __init__(self, model: Transformer, groups: int, *, in_turn: bool = False) -> None:
        self.in_turn = in_turn
        if in_turn:
            self.twins = [model] * groups
            return
        self.twins = [model, *(copy.deepcopy(model) for _ in range(groups - 1))]
        for twin in self.twins[1:]:
            for mine, shared in zip(twin.parameters(), model.parameters(), strict=True):
                mine.data = shared.data
        cores = min(groups, torch.get_num_threads())
        self.pool = ThreadPoolExecutor(cores, "group", initializer=one_thread)

    def gather(self, work: Callable[[Transformer, int], tuple[float, float]]) -> list[tuple[float, float]]:
        """`work(twin, group)` for every group, at once; the gradients that it leaves are added up in the model."""
        if self.in_turn:
            return [work(twin, group) for group, twin in enumerate(self.twins)]
        results = list(self.pool.map(work, self.twins, range(len(self.twins))))
        first, *others = (list(twin.parameters()) for twin in self.twins)
        for other in others:
            for total, part in zip(first, other, strict=True):
                if part.grad is not None:
                    total.grad = part.grad if total.grad is None else total.grad.add_(part.grad)
                    part.grad = None
        return results


def hands_for(model: Transformer, ranks: Ranks, groups: int) -> Hands:
    """Hands for so many groups a step, with the model on its device and divided as the run's ways ask."""
    ranks.check(model.config)
    model.to(ranks.device)
    ways = ranks.ways
    if ways.split > 1:
        from tenku.model.spread import Spread

        model.spread = Spread(ranks.split_group)
    hands = Hands(model, groups, in_turn=ranks.in_turn)
    for twin in dict.fromkeys(hands.twins):
        for block in (*twin.text_blocks, *twin.blocks):
            if ways.compile:
                block.forward = torch.compile(block.forward, dynamic=True)
            if ways.recompute:  # around what is compiled: the compiler gives up on what it finds around a forward
                block.forward = functools.partial(
                    checkpoint, block.forward, use_reentrant=False, preserve_rng_state=False)
    if ways.shard:
        from tenku.training.sharding import shard

        shard(model, ranks.device.type)
    return hands


def vocabulary() -> Words:
    """The word table of the world's captions, and the phrases of its lexicon that captions never say."""
    known = tuple(world_captions.vocabulary())
    said = set(known)
    lexicon = {synonym: canonical for canonical, synonyms in world_captions.LEXICON.items() for synonym in synonyms
               if "/" not in synonym and not set(synonym.split()) <= said}
    return Words(known, lexicon)


def words_for(args: Fit, pool: Pool, rows: int) -> Words:
    """The word table of a run: that of its own weights, or of those that it starts from, or the world's; and behind it
    the commonest other words of the pool's captions, as many as `rows` leave room for."""
    known = vocabulary()
    for path in (args.path, args.origin.start):
        if path and path.exists() and "words" in (header := read_header(path)):
            known = Words(tuple(json.loads(header["words"])), json.loads(header["lexicon"]))
            break
    return known.with_words_of(pool.texts(), rows - 1 - len(known.words))


def fresh(config: TransformerConfig, seed: int, start: Path | None) -> Transformer:
    """A transformer with the weights of a seed, or of `start`. Raises UserError if that is of another size."""
    with torch.random.fork_rng():  # module initialisers draw from torch's own stream
        torch.manual_seed(seed)
        model = Transformer(config)
    if start:
        given = Transformer.load(start)
        if given.config != config:
            raise UserError(f"{start.name} is of another size: {given.config}", "give the preset of its training")
        model.load_state_dict(given.state_dict())
    return model


def group_loss(model: Transformer, group: Group, words: Tensor, draw: np.random.Generator) -> Tensor:
    """Mean squared error of the velocity, Eq. 23 of arXiv:2210.02747 on a straight line.

    Tokens that are told of a thing nearby count up to FOCUS times more, those of what stands around ASIDE times: few of
    a picture, they are what people look at. Where they are is given, so what is learnt there stays the mean; only
    effort moves.
    """
    again = repeats(group.data.shape[1])
    data = group.data.repeat_interleave(again, 0)
    batch, tokens, _ = data.shape
    slots = group.runs if draw.random() < PER_STEP_NOISE else 1
    sigma = flow.draw_sigmas(draw, (batch, slots), tokens).to(data.device)
    noise = torch.from_numpy(draw.standard_normal(data.shape, dtype=np.float32)).to(data.device)
    each = sigma.repeat_interleave(tokens // slots, 1)
    x = flow.interpolate(data, noise, each)
    told = None if group.motion is None else group.motion.repeat_interleave(again, 0)
    with autocast(data.device.type):
        before = None if group.known_motion is None else model.see(group.known_motion)
        context = model.context(words, group.known, group.known_positions, group.scale, before)
        each_context = [(k.repeat_interleave(again, 0), v.repeat_interleave(again, 0)) for k, v in context]
        positions = group.positions if group.positions.ndim == 2 else group.positions.repeat_interleave(again, 0)
        seen = None if told is None else model.see(told)
        v = model.velocity(x, sigma, positions, each_context, group.scale, seen)
    error = (v - flow.velocity(data, noise)).square().mean(-1)
    return error.mean() if told is None else _focused(error, told)


def _focused(error: Tensor, told: Tensor) -> Tensor:
    """The mean of the errors of tokens, in which tokens that are told of a thing nearby count more."""
    told = told[..., :FEATURES]  # behind them stands the sketch
    weight = 1 + FOCUS * nearness(told) ** 4 + ASIDE * beside(told) ** 4
    return (error * weight).sum() / weight.sum()


def group_flops(model: Transformer, group: Group, length: int) -> float:
    """Forward and backward FLOPs of a group: three times the forward ones."""
    batch, canvas, _ = group.data.shape
    context = length + group.known.shape[1]
    config = model.config
    forward = repeats(canvas) * canvas * config.flops_per_token(canvas, context)
    forward += context * config.flops_per_token(context, 0)
    return 3.0 * batch * forward


def _rows(captions: list[str], words: Words, most: int, draw: np.random.Generator) -> Tensor:
    rows = [[] if draw.random() < DROPOUT else words.encode(c, most)[0] for c in captions]
    return caption_batch(rows, BUCKET)


def drawing(args: Fit, pool: Pool, words: Words, most: int) -> Callable[[int, int], Drawn]:
    """What draws a group of a step: all of it follows from the seed, the step and the group's number."""

    def drawn(step: int, part: int) -> Drawn:
        draw = rng.stream(args.seed, args.path.stem, step, part)
        group = pool.draw(draw, args.tokens // args.groups)
        return Drawn(group, _rows(group.captions, words, most, draw), draw)

    return drawn


def fit(
    args: Fit, model: Transformer, pool: Pool, before_step: Callable[[int], object],
    on_saved: Callable[[int], object], on_step: Callable[[int], None] | None,
) -> Path:
    """Fits, or goes on fitting, `model` to groups of `pool`; returns the path of the averaged weights.

    Calls `before_step(step)` before each step, `on_saved(step)` after each checkpoint, `on_step(step)` after each.
    """
    ranks = args.ranks
    parts = ranks.parts(args.groups)
    words = words_for(args, pool, model.config.vocabulary)
    ranks.agree(str([words.words, sorted((bucket, len(clips)) for bucket, clips in pool.clips.items())]))
    hands = hands_for(model, ranks, len(parts))
    run = Run(args.path.parent, args.steps, ranks=ranks)
    optimizer, ema = Optimizer(model, args.rate, muon=("blocks.",)), Ema(model)
    step = run.resume(model, optimizer, ema, args.identity)
    if ranks.leads:
        print(f"{args.path.stem}: {sum(p.numel() for p in model.parameters()) / 1e6:.2f} M parameters, "
              f"{len(words.words)} words, {pool.count} clips", flush=True)
    deal = Deal(drawing(args, pool, words, model.config.max_words), parts, args.steps, ranks.ways.workers, args.refresh)

    def work(twin: Transformer, hand: int) -> tuple[float, float]:
        drawn = deal.take(step, parts[hand]).to(ranks.device)
        flops = group_flops(model, drawn.group, drawn.words.shape[1])
        loss = twin(lambda whole: group_loss(whole, drawn.group, drawn.words, drawn.draw)) / args.groups
        loss.backward()
        return float(loss.detach()), flops

    while step < args.steps:
        before_step(step)
        deal.ahead(step)
        loss, flops = (sum(values) for values in zip(*hands.gather(work), strict=True))
        ranks.add_up(optimizer.parameters)
        norm = optimizer.step(learning_rate(step, args.steps, args.rate))
        ema.update(step)
        run.log(step, flops, {"loss": loss, "norm": norm})
        step += 1
        if run.due() or step == args.steps:
            publish(model, ema, words, args,  # first, for what is killed between the two does both again
                    {"flops": repr(run.flops), "steps": str(step), "longest": str(pool.longest)})
            run.save(step, model, optimizer, ema, args.identity)
            run.leave_if_asked()
            if ranks.leads:
                on_saved(step)
        if on_step:
            on_step(step)
    deal.close()
    run.close()
    return args.path


def publish(model: Transformer, ema: Ema, words: Words, args: Fit, facts: dict[str, str]) -> None:
    """Writes the averaged weights with their word table, ready to generate from."""
    average = Transformer(model.config)
    ema.copy_to(average)
    if not args.ranks.leads:
        return
    table = {"words": json.dumps(words.words), "lexicon": json.dumps(dict(words.lexicon))}
    args.origin.publish(args.path, average.save, {**table, **facts})
