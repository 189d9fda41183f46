"""Motion that is asked for: against the world's own truth, and against what was asked."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tenku.inputs import Track, camera_file, moves
from tenku.model.motion import CHANNELS, PARTS, motion_from
from tenku.model.motion import seen as seen_by_camera
from tenku.sampling.control import axes, lead, on_samples, on_steps, settled, there_and_back, times
from tenku.world.camera import FOV
from tenku.world.grammar import draw, variant
from tenku.world.motion import CAMERA, MIDDLE, SPREAD, STATE, THING, states
from tenku.world.simulate import Format, render

SHAPE = Format(64, 48, 17, 16.0)
ASPECT = 64 / 48
CLOCK = np.arange(17) / 16


def seen(camera: str) -> np.ndarray:
    """What the world says of one scene under a move of the camera, in plain units."""
    scene = variant(draw(3), subject="car", place="meadow", action="moves left", camera=camera, size="large")
    return states(render(scene, SHAPE).facts) * SPREAD + MIDDLE


@pytest.fixture(scope="module")
def rows() -> np.ndarray:
    return seen("static")


def filmed(rows: np.ndarray) -> np.ndarray:
    """The same with things as the camera sees them: tangents right and up, log of the distance."""
    return seen_by_camera(torch.from_numpy(rows)).numpy()


@pytest.mark.parametrize("camera", ["orbit right", "pan left"])
def test_things_stay_in_the_world_when_the_camera_goes_another_way(camera, rows):
    truth = seen(camera)
    asked = obey(rows, tuple((t, *pose) for t, pose in zip(CLOCK, _poses(truth, rows[0]), strict=True)))
    assert np.allclose(asked[:, : CAMERA + 10], truth[:, : CAMERA + 10], atol=2e-3)


def _poses(truth: np.ndarray, first: np.ndarray) -> list[tuple[float, ...]]:
    """Cameras of the truth as poses relative to a first sample: right, up, forward, yaw and pitch in degrees."""
    local = (truth[:, :3] - first[:3]) @ axes(first[None, :CAMERA])[0]
    turned = np.degrees(truth[:, 3:5] - first[3:5])
    return [(right, up, -back, yaw, pitch) for (right, up, back), (yaw, pitch) in zip(local, turned, strict=True)]


def obey(rows: np.ndarray, camera: object = "", tracks: tuple = ()) -> np.ndarray:
    change = lead(camera, tracks, CLOCK, 1.0, ASPECT)  # type: ignore[arg-type]
    assert change is not None
    return change(rows)


def test_named_moves_go_as_far_as_they_say(rows):
    start = rows[0, :CAMERA]
    ahead = np.array([np.sin(start[3]), np.cos(start[3]), 0])
    dolly = obey(rows, "dolly in 1.5")
    assert np.allclose(dolly[-1, :3] - start[:3], 1.5 * ahead, atol=1e-6)
    assert np.allclose(dolly[8, :3] - start[:3], 0.75 * ahead, atol=1e-6)
    assert np.degrees(obey(rows, "pan left 20")[-1, 3] - start[3]) == pytest.approx(-20)
    assert np.degrees(obey(rows, "tilt up 5")[-1, 4] - start[4]) == pytest.approx(5)
    assert obey(rows, "crane up 0.7")[-1, 2] - start[2] == pytest.approx(0.7)
    assert np.allclose(obey(rows, "static")[:, :CAMERA], start)
    orbit = obey(rows, "orbit right 30")
    centre = start[:3] + ahead * np.exp(filmed(rows)[0, CAMERA + 3])
    away = np.linalg.norm(orbit[:, :2] - centre[:2], axis=1)
    assert np.allclose(away, away[0])
    assert np.degrees(orbit[-1, 3] - start[3]) == pytest.approx(-30)
    assert (orbit[-1, :3] - start[:3]) @ [ahead[1], -ahead[0], 0] > 0  # to the right


def test_keyed_poses_are_relative_to_the_first_camera(rows):
    path = obey(rows, ((0, 0, 0, 0, 0, 0), (0.5, 0.2, 0.1, 1.0, 10, -5)))
    turn = axes(rows[:1, :CAMERA])[0]
    assert np.allclose(turn.T @ (path[8, :3] - rows[0, :3]), (0.2, 0.1, -1.0), atol=1e-6)
    assert np.degrees(path[8, 3:5] - rows[0, 3:5]) == pytest.approx([10, -5])
    assert np.allclose(path[16, :CAMERA], path[8, :CAMERA])  # stays there after the last key


def test_things_go_where_they_are_led(rows):
    led = filmed(obey(rows, tracks=(Track.parse("0:0.2,0.6 1:0.8,0.4").points,)))
    half = np.tan(FOV / 2)
    x = (led[:, CAMERA + 1] / (half * ASPECT) + 1) / 2
    y = (1 - led[:, CAMERA + 2] / half) / 2
    assert np.allclose(x, 0.2 + 0.6 * CLOCK)
    assert np.allclose(y, 0.6 - 0.2 * CLOCK)
    assert np.allclose(led[:, CAMERA + 3], filmed(rows)[:, CAMERA + 3])  # as far away as it was
    box = filmed(obey(rows, tracks=(Track.parse("0.4,0.25,0.6,0.75").points,)))
    assert 2 * half * np.exp(box[:, CAMERA + 3]) * 0.5 == pytest.approx(1.0)  # a metre fills half of the height


def test_a_camera_that_follows_goes_where_the_first_thing_goes(rows):
    led = lead("", (), CLOCK, 1.0, ASPECT, follows=True)(rows)
    assert np.allclose(led[:, CAMERA:], rows[:, CAMERA:])
    assert np.allclose(led[0], rows[0])
    assert np.allclose(led[:, :3] - led[0, :3], rows[:, CAMERA + 1 : CAMERA + 4] - rows[0, CAMERA + 1 : CAMERA + 4])
    assert np.ptp(rows[:, CAMERA + 1]) > 0.1  # it does go somewhere
    path = lead("static", (), CLOCK, 1.0, ASPECT, follows=True)(rows)
    assert np.allclose(path[:, :CAMERA], rows[0, :CAMERA])  # a path that is asked for is what counts


def test_a_realestate_file_says_the_same_as_poses(tmp_path, rows):
    """World to camera, x right, y down, z forward: here a metre forward, then turned to the right by 10 degrees."""
    c, s = np.cos(np.radians(10)), np.sin(np.radians(10))
    turn = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])  # camera to world
    place = np.array([0.0, 0.0, 1.0])
    lines = ["https://example.org/video"]
    for time, r, t in ((0, np.eye(3), np.zeros(3)), (1_000_000, turn, place)):
        outside = np.hstack([r.T, (-r.T @ t)[:, None]])
        lines.append(" ".join(map(str, [time, 0.5, 0.9, 0.5, 0.5, 0, 0, *outside.ravel()])))
    (tmp_path / "path.txt").write_text("\n".join(lines))
    poses = camera_file(tmp_path / "path.txt")
    assert np.allclose(poses, [(0, 0, 0, 0, 0, 0), (1, 0, 0, 1, 10, 0)], atol=1e-6)
    (tmp_path / "path.json").write_text('[{"t":0,"x":0,"y":0,"z":0,"yaw":0,"pitch":0},[1,0,0,1,10,0]]')
    (tmp_path / "path.csv").write_text("t,x,y,z,yaw,pitch\n0,0,0,0,0,0\n1,0,0,1,10,0\n")
    for ending in ("json", "csv"):
        assert np.allclose(camera_file(tmp_path / f"path.{ending}"), poses)


@pytest.mark.parametrize(("name", "text"), [
    ("a.json", "{"), ("a.json", "[[1]]"), ("a.json", '{"t": 1}'), ("a.csv", "t,x\n1,2\n"), ("a.txt", "one two three"),
    ("a.txt", ""), ("a.json", "[" * 5000),
])  # fmt: skip
def test_a_wrong_path_is_a_line_and_a_hint(name, text, tmp_path):
    from tenku.errors import UserError

    (tmp_path / name).write_text(text)
    with pytest.raises(UserError) as caught:
        camera_file(tmp_path / name)
    assert caught.value.hint
    with pytest.raises(UserError):
        camera_file(tmp_path / "missing.json")


def test_moves_are_read_with_their_units():
    assert moves("Dolly in 1.5 m; pan left 20 degrees and crane up") == [
        ("dolly in", 1.5), ("pan left", 20.0), ("crane up", 1.5)]


def test_there_and_back_is_a_smooth_circle_where_things_are_in_sight(rows):
    ring = there_and_back(rows, ASPECT)
    count = len(ring) - 1
    assert np.allclose(ring[0], ring[-1])
    assert count % 4 == 0
    assert np.allclose(ring[:-1], ring[(count // 4 - np.arange(count)) % count])  # it turns after an eighth
    assert len(ring) == len(rows)
    steps = np.abs(np.diff(rows[:, CAMERA + 1])).max()
    assert np.abs(np.diff(np.concatenate([ring[-2:], ring])[:, CAMERA + 1])).max() < 1.6 * steps
    late = rows.copy()
    late[: len(rows) // 2, CAMERA + 3] = 30.0  # above the picture in the first half
    assert np.abs(there_and_back(late, ASPECT)[:, CAMERA + 3]).max() < 5


def away(rows: np.ndarray, velocity: tuple[float, float, float]) -> np.ndarray:
    """A motion whose first thing looks and goes one way for ever, from two metres before the first camera's middle."""
    rows = np.repeat(rows[:1], 200, 0).astype(np.float64)
    rows[:, CAMERA : CAMERA + 4] = [1, *(rows[0, :3] + [0, 4, 0])]
    rows[:, CAMERA + 1 : CAMERA + 4] += np.arange(200)[:, None] * velocity
    front = np.array(velocity[:2] if any(velocity[:2]) else (1, 0)) / (np.hypot(*velocity[:2]) or 1)
    rows[:, CAMERA + 4 : CAMERA + 10] = [*front, 0, -front[1], front[0], 0]
    return rows


@pytest.mark.parametrize("velocity", [(0.1, 0, 0), (-0.1, 0.02, 0), (0, 0.15, 0), (0, -0.1, 0), (0, 0, 0.1),
                                      (0.05, 0, -0.1)])
def test_what_gets_lost_turns_home_and_looks_where_it_goes(rows, velocity):
    lost = away(rows, velocity)
    floor = np.full(3, lost[0, CAMERA + 3] - 0.1)
    home = settled(lost, 20, floor, ASPECT)
    assert np.array_equal(home[:20], lost[:20])
    seen = filmed(home[40:])[:, CAMERA : CAMERA + 4]
    assert np.abs(seen[:, 1]).max() < np.tan(FOV / 2) * ASPECT  # in the picture
    assert 0.2 < np.exp(seen[:, 3]).min() < np.exp(seen[:, 3]).max() < 12
    assert home[40:, CAMERA + 3].min() > floor[0] - 0.2
    steps, front = np.diff(home[:, CAMERA + 1 : CAMERA + 3], axis=0), home[1:, CAMERA + 4 : CAMERA + 6]
    speed = np.linalg.norm(steps, axis=1)
    assert speed == pytest.approx(np.full(199, np.hypot(*velocity[:2])), abs=1e-9)
    if speed[0]:
        assert (steps * front).sum(1) == pytest.approx(speed)


def test_what_is_there_is_there_throughout(rows):
    drifting = rows.astype(np.float64)
    drifting[:, CAMERA] = np.linspace(1, 0, len(rows))
    drifting[:, CAMERA + THING] = np.linspace(0.1, 0.9, len(rows))
    found = settled(drifting, len(rows), np.zeros(3), ASPECT)
    assert (found[:, CAMERA] == 1).all()
    assert (found[:, CAMERA + THING] == 0).all()
    flags = [CAMERA, CAMERA + THING]
    assert np.array_equal(np.delete(found, flags, 1), np.delete(drifting, flags, 1))


def test_samples_have_the_times_of_their_frames():
    assert times(3, 0.5).tolist() == [0, 0, 0, 0, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1.0]


def test_the_network_of_motion_is_led_in_its_own_numbers():
    """Whatever it says, what follows obeys, and goes on from what was before."""
    generator = np.random.Generator(np.random.Philox(key=1))
    steps = torch.from_numpy(generator.standard_normal((1, 5, CHANNELS)).astype(np.float32)) * 0.1
    steps[:, 0] = 0
    clock = times(5, 0.5)
    change = lead("pan right 20", (), clock, 2.0, 1.6)
    assert change is not None
    before, after = steps[:, :2], steps[:, 2:]
    led = on_steps(change, on_steps(change, steps[:, :0])(steps)[:, :2])(after)
    rows: list[np.ndarray] = []
    on_samples(motion_from(torch.cat([on_steps(change, steps[:, :0])(steps)[:, :2], led], 1)),
               lambda plain: rows.append(plain) or plain)  # type: ignore[func-returns-value]
    yaw = np.degrees(rows[0][:, 3])
    assert np.allclose(yaw - yaw[0], 20 * clock / 2, atol=1e-3)
    assert before.shape[1] == 2
    assert rows[0].shape == (5 * PARTS, STATE)


@pytest.mark.parametrize("strength", [0.0, 1.0])
def test_a_dreamt_motion_obeys_and_moves_as_strongly_as_asked(strength):
    """The bundled network of motion: the camera goes where it is told, the rest stands still at strength 0."""
    from tenku.engines.bundled import BUNDLED, load
    from tenku.request import Request
    from tenku.sampling.moves import Moves
    from tenku.sampling.plan import plan

    if not (BUNDLED / "nano" / "motion.safetensors").exists():
        pytest.skip("the bundled weights are not there yet")
    engine = load("nano")
    request = Request("a red car drives left in the snow", camera="dolly in 1", motion=strength, steps=6,
                      tracks=("0.2,0.6 0.8,0.6",) if strength else ())
    grid = engine.codec.grid(request.frames, 80, 128, 16.0)
    made = plan(request, grid.steps, engine.longest)
    moved = Moves(engine, made, grid)
    shape = (1, grid.steps, grid.rows, grid.columns)
    with torch.inference_mode():
        [motion] = moved.of(made.rounds[0], 0, torch.zeros(*shape, 128), torch.zeros(shape[1:], dtype=torch.bool))
    seen: list[np.ndarray] = []
    on_samples(motion, lambda plain: seen.append(plain) or plain)  # type: ignore[func-returns-value]
    first, last = seen[0][0], seen[0][-1]
    assert np.linalg.norm(last[:3] - first[:3]) == pytest.approx(1.0, abs=1e-3)
    if strength:
        x = (filmed(np.array([first, last]))[:, CAMERA + 1] / (np.tan(FOV / 2) * 1.6) + 1) / 2
        assert x == pytest.approx([0.2, 0.8], abs=1e-4)
    else:
        assert np.abs(seen[0][:, CAMERA:] - first[CAMERA:]).max() < 1e-3
