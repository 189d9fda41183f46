// The camera's path: named moves with amounts, or keyed poses, which one may draw; seen in a little world.
import { calm, choice, clamp, colour, h, range, rounded } from "./dom.js";
import { draft, save, span, styles } from "./draft.js";

const AWAY = 4.5, HIGH = 1.2, ABOVE = 9.5, VIEW = (40 * Math.PI) / 180; // metres to the thing, of the eye above the ground, from which one draws; angle of view, as the model's
const pairs = [["dolly", "out", "in", 3, "m"], ["truck", "left", "right", 3, "m"], ["crane", "down", "up", 3, "m"], ["pan", "left", "right", 60, "°"], ["tilt", "down", "up", 30, "°"], ["orbit", "left", "right", 90, "°"]];
const rad = (degrees) => (degrees * Math.PI) / 180;

// Where named moves are at a part (0..1) of the clip: [x right, y up, z forward, yaw, pitch], metres and radians.
export function moved(moves, part) {
  const by = (kind, one, two) => ((moves[`${kind} ${two}`] ?? 0) - (moves[`${kind} ${one}`] ?? 0)) * part;
  let [x, z, yaw] = [by("truck", "left", "right"), by("dolly", "out", "in"), rad(by("pan", "left", "right"))];
  const turn = -rad(by("orbit", "left", "right"));
  if (turn) {
    const [armX, armZ] = [x, z - AWAY];
    x = Math.cos(turn) * armX + Math.sin(turn) * armZ;
    z = AWAY - Math.sin(turn) * armX + Math.cos(turn) * armZ;
    yaw += turn;
  }
  return [x, Math.max(by("crane", "down", "up"), 0.15 - HIGH), z, yaw, rad(by("tilt", "down", "up"))];
}

export function keyed(poses, at) {
  if (at <= poses[0][0]) return pose(poses[0]);
  for (let i = 1; i < poses.length; i += 1) {
    if (at > poses[i][0]) continue;
    const [one, two] = [poses[i - 1], poses[i]];
    const part = (at - one[0]) / (two[0] - one[0]);
    return pose(one.map((value, k) => value + (two[k] - value) * part));
  }
  return pose(poses.at(-1));
}
const pose = ([, x, y, z, yaw, pitch]) => [x, y, z, rad(yaw), rad(pitch)];

// Text such as "dolly in 1, pan left 20" as moves.
export const read = (text) => Object.fromEntries(text.split(",").map((part) => part.trim().match(/^([a-z]+ [a-z]+) ([\d.]+)$/)).filter(Boolean).map(([, move, by]) => [move, Number(by)]));

// A pinhole at `eye` that looks along yaw and pitch: a point of the world to the canvas, or null behind it.
function lens(canvas, [x, y, z, yaw, pitch], view) {
  const focus = canvas.height / 2 / Math.tan(view / 2);
  const [cy, sy, cp, sp] = [Math.cos(yaw), Math.sin(yaw), Math.cos(pitch), Math.sin(pitch)];
  return ([px, py, pz]) => {
    const [dx, dy, dz] = [px - x, py - y, pz - z];
    const ahead = dx * sy + dz * cy;
    const depth = ahead * cp + dy * sp;
    if (depth < 0.05) return null;
    return [canvas.width / 2 + (focus * (dx * cy - dz * sy)) / depth, canvas.height / 2 - (focus * (dy * cp - ahead * sp)) / depth, depth];
  };
}

function stroke(pen, see, points, style, wide = 1) {
  pen.strokeStyle = style;
  pen.lineWidth = wide;
  pen.beginPath();
  let on = false;
  for (const point of points) {
    const seen = see(point);
    if (seen) on ? pen.lineTo(seen[0], seen[1]) : pen.moveTo(seen[0], seen[1]);
    on = Boolean(seen);
  }
  pen.stroke();
}

function ground(pen, see, style) {
  for (let i = -6; i <= 6; i += 1) {
    const fine = (a, b) => Array.from({ length: 33 }, (_, k) => a.map((value, n) => value + ((b[n] - value) * k) / 32));
    stroke(pen, see, fine([i, -HIGH, -3], [i, -HIGH, 10]), style);
    stroke(pen, see, fine([-6, -HIGH, i + 3.5], [6, -HIGH, i + 3.5]), style);
  }
}

// The thing: a ball one metre tall that stands on the ground, shaded so that one sees it turn.
function thing(pen, see, style) {
  const ball = Array.from({ length: 3 }, (_, k) => Array.from({ length: 25 }, (_n, i) => {
    const [angle, turn] = [(i / 24) * 2 * Math.PI, (k / 3) * Math.PI];
    return [0.5 * Math.cos(angle) * Math.cos(turn), 0.5 - HIGH + 0.5 * Math.sin(angle), AWAY + 0.5 * Math.cos(angle) * Math.sin(turn)];
  }));
  const middle = see([0, 0.5 - HIGH, AWAY]);
  const edge = middle && see([0.5, 0.5 - HIGH, AWAY]);
  if (edge) {
    pen.fillStyle = style;
    pen.globalAlpha = 0.35;
    pen.beginPath();
    pen.arc(middle[0], middle[1], Math.max(2, Math.hypot(edge[0] - middle[0], edge[1] - middle[1])), 0, 7);
    pen.fill();
    pen.globalAlpha = 1;
  }
  ball.forEach((ring) => stroke(pen, see, ring, style, 1.5));
}

function eye(pen, see, [x, y, z, yaw, pitch], style) {
  const at = (right, up, ahead) => {
    const along = ahead * Math.cos(pitch) - up * Math.sin(pitch);
    return [x + right * Math.cos(yaw) + along * Math.sin(yaw), y + up * Math.cos(pitch) + ahead * Math.sin(pitch), z - right * Math.sin(yaw) + along * Math.cos(yaw)];
  };
  const corners = [[-0.32, 0.2], [0.32, 0.2], [0.32, -0.2], [-0.32, -0.2]].map(([right, up]) => at(right, up, 0.55));
  stroke(pen, see, [...corners, corners[0]], style, 1.5);
  corners.forEach((corner) => stroke(pen, see, [[x, y, z], corner], style, 1.5));
}

export function cameraPanel(stop) {
  const world = h("canvas", { width: 640, height: 400, class: "world", tabIndex: 0, role: "img", "aria-label": "The camera's path in a little world; arrow keys turn it" });
  const finder = h("canvas", { width: 240, height: 150, class: "finder", role: "img", "aria-label": "What the camera sees" });
  const [pen, small] = [world.getContext("2d"), finder.getContext("2d")];
  let turn = [-0.75, -0.48]; // how one looks at the world
  let drawing = null;
  let now = 0;
  const own = () => (draft.poses.length ? null : Object.keys(draft.moves).length ? draft.moves : read(styles[draft.style]?.camera ?? ""));
  const at = (part) => (draft.poses.length ? keyed(draft.poses, part * span()) : moved(own(), part));
  const centre = [0, -0.5, AWAY / 2 - 0.3];
  const above = () => [0, ABOVE, AWAY / 2 - 0.2, 0, -Math.PI / 2 + 0.001];
  const watcher = () => {
    if (drawing) return above();
    const [yaw, pitch] = turn;
    const far = 8.2;
    return [centre[0] - far * Math.sin(yaw) * Math.cos(pitch), centre[1] - far * Math.sin(pitch), centre[2] - far * Math.cos(yaw) * Math.cos(pitch), yaw, pitch];
  };
  const paint = () => {
    const [line, accent, ink, back] = ["--line", "--accent", "--soft", "--ground"].map(colour);
    for (const [tool, canvas] of [[pen, world], [small, finder]]) { tool.fillStyle = back; tool.fillRect(0, 0, canvas.width, canvas.height); tool.lineJoin = "round"; }
    const see = lens(world, watcher(), rad(46));
    ground(pen, see, line);
    thing(pen, see, accent);
    stroke(pen, see, Array.from({ length: 49 }, (_, i) => at(i / 48).slice(0, 3)), accent, 3);
    for (const part of [0, 1]) eye(pen, see, at(part), ink);
    eye(pen, see, at(now), accent);
    if (drawing?.points?.length) stroke(pen, see, drawing.points, accent, 4);
    const through = lens(finder, at(now), VIEW);
    ground(small, through, line);
    thing(small, through, accent);
  };

  const time = range("Look at", { min: 0, max: 1, step: 0.01, value: 0, says: (value) => `${(value * span()).toFixed(1)} s` }, (value) => { now = value; still = true; paint(); });
  let still = calm();
  let frame;
  const play = (clock) => {
    if (!still && world.isConnected) { now = ((clock / 1000) % (span() + 0.7)) / span(); now = Math.min(1, now); paint(); }
    if (world.isConnected || !clock) frame = requestAnimationFrame(play);
  };
  stop.push(() => cancelAnimationFrame(frame));

  // Turning the world, or drawing a path in it from above.
  const flat = (event) => {
    const box = world.getBoundingClientRect();
    const focus = world.height / 2 / Math.tan(rad(23));
    return [(((event.clientX - box.left) / box.width) * world.width - world.width / 2) * ABOVE / focus, 0,
      above()[2] - (((event.clientY - box.top) / box.height) * world.height - world.height / 2) * ABOVE / focus];
  };
  world.addEventListener("pointerdown", (event) => {
    world.setPointerCapture(event.pointerId);
    if (drawing) drawing.points = [flat(event)];
  });
  world.addEventListener("pointermove", (event) => {
    if (!world.hasPointerCapture(event.pointerId)) return;
    if (drawing) drawing.points.push(flat(event));
    else turn = [turn[0] - event.movementX * 0.008, clamp(turn[1] - event.movementY * 0.006, -1.5, -0.05)];
    paint();
  });
  world.addEventListener("lostpointercapture", () => {
    if (!drawing?.points) return;
    const points = drawing.points;
    drawing = null;
    if (points.length > 3) {
      const keys = 6;
      const [first] = points;
      draft.poses = Array.from({ length: keys }, (_, i) => {
        const point = points[Math.round((i * (points.length - 1)) / (keys - 1))];
        const [x, z] = [point[0] - first[0], point[2] - first[2]];
        return [rounded((span() * i) / (keys - 1)), rounded(x), 0, rounded(z), rounded((Math.atan2(-x, Math.max(0.3, AWAY - z)) * 180) / Math.PI, 0.1), 0];
      });
      save();
    }
    refresh();
  });
  world.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: [0.12, 0], ArrowRight: [-0.12, 0], ArrowUp: [0, -0.08], ArrowDown: [0, 0.08] }[event.key];
    if (!by) return;
    event.preventDefault();
    turn = [turn[0] + by[0], clamp(turn[1] + by[1], -1.5, -0.05)];
    paint();
  });

  const controls = h("div", { class: "camera-controls" });
  const refresh = () => { controls.replaceChildren(...(draft.poses.length ? table() : sliders())); paint(); };
  const sliders = () => [h("div", { class: "moves" }, pairs.map(([kind, one, two, most, unit]) => range(kind[0].toUpperCase() + kind.slice(1), {
    min: -most, max: most, step: unit === "m" ? 0.1 : 1, value: (own()[`${kind} ${two}`] ?? 0) - (own()[`${kind} ${one}`] ?? 0),
    says: (value) => (Number(value) === 0 ? "–" : `${value < 0 ? one : two} ${Math.abs(value)} ${unit}`) }, (value) => {
    draft.moves = { ...own() };
    delete draft.moves[`${kind} ${one}`];
    delete draft.moves[`${kind} ${two}`];
    if (value) draft.moves[`${kind} ${value < 0 ? one : two}`] = Math.abs(value);
    save();
    paint();
  }))), h("div", { class: "row" },
    h("button", { type: "button", class: "quiet", onclick: () => { drawing = {}; still = true; controls.replaceChildren(h("p", {}, "Draw the camera's way, from above. It looks at the thing."), h("button", { type: "button", class: "quiet", onclick: () => { drawing = null; refresh(); } }, "Rather not")); paint(); } }, "Draw a path"),
    h("button", { type: "button", class: "quiet", onclick: () => { draft.poses = [0, 0.5, 1].map((part) => { const [x, y, z, yaw, pitch] = moved(own(), part); return [rounded(part * span()), rounded(x), rounded(y), rounded(z), rounded((yaw * 180) / Math.PI, 0.1), rounded((pitch * 180) / Math.PI, 0.1)]; }); save(); refresh(); } }, "Key by key"),
    h("button", { type: "button", class: "quiet", onclick: () => { draft.moves = {}; save(); refresh(); } }, "As the words say"))];
  const heads = ["s", "right", "up", "forward", "yaw °", "pitch °"];
  const table = () => [h("div", { class: "scroll" }, h("table", { class: "poses" }, h("thead", {}, h("tr", {}, heads.map((head) => h("th", { scope: "col" }, head)), h("th", {}, h("span", { class: "skip" }, "remove")))),
    h("tbody", {}, draft.poses.map((row, i) => h("tr", {}, row.map((value, k) => h("td", {}, (() => {
      const input = h("input", { type: "number", step: k > 3 ? "1" : "0.1", "aria-label": `${heads[k]} of key ${i + 1}`, onchange: () => {
        const number = Number(input.value);
        if (!Number.isFinite(number)) return;
        row[k] = k ? number : clamp(number, 0, 60);
        draft.poses.sort((a, b) => a[0] - b[0]);
        draft.poses = draft.poses.filter((one, n) => !n || one[0] > draft.poses[n - 1][0]);
        save();
        refresh();
      } });
      input.value = value;
      return input;
    })())), h("td", {}, draft.poses.length > 1 && h("button", { type: "button", class: "x", "aria-label": `Remove key ${i + 1}`, onclick: () => { draft.poses.splice(i, 1); save(); refresh(); } }, "×"))))))),
    h("div", { class: "row" }, h("button", { type: "button", class: "quiet", onclick: () => { const last = draft.poses.at(-1); draft.poses.push([rounded(last[0] + 0.5), ...last.slice(1)]); save(); refresh(); } }, "＋ Key"),
      h("button", { type: "button", class: "quiet", onclick: () => { draft.poses = []; save(); refresh(); } }, "Back to moves"))];
  const box = h("div", { class: "camera" }, h("div", { class: "views" }, world, finder), h("div", { class: "beside" },
    choice("From where one looks", [["side", "Around"], ["top", "From above"], ["front", "From behind"]], "side", (way) => { turn = { side: [-0.75, -0.48], top: [0, -1.5], front: [0, -0.25] }[way]; paint(); }), time, controls));
  refresh();
  frame = requestAnimationFrame(play);
  return [box];
}
