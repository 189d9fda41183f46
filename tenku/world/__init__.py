"""The world: a grammar draws scenes, physics moves them, a camera films them, facts and captions describe them.

    seed -> grammar.draw -> Scene -> stage -> simulate -> frames + facts -> captions -> shards

Nothing here needs torch. World axes: x to the right and y away as the undisturbed camera sees them, z up;
metres, seconds, radians, pixels.
"""
