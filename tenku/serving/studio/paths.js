// Where things go: paths drawn on a frame, each point at its time.
import { calm, clamp, h, range, rounded, svg } from "./dom.js";
import { draft, save, sizeOf, span } from "./draft.js";

const names = ["First thing", "Second thing", "Third thing"];
const POINTS = 8; // that a drawn stroke becomes at most

// A stroke [[x, y, when], ...] as few points that still show it (Ramer, Douglas, Peucker).
export function fewer(stroke, most = POINTS) {
  const kept = new Set([0, stroke.length - 1]);
  while (kept.size < Math.min(most, stroke.length)) {
    const order = [...kept].sort((a, b) => a - b);
    let worst = [0.02, -1];
    for (let k = 1; k < order.length; k += 1) {
      const [a, b] = [stroke[order[k - 1]], stroke[order[k]]];
      const length = Math.hypot(b[0] - a[0], b[1] - a[1]);
      for (let i = order[k - 1] + 1; i < order[k]; i += 1) {
        const off = length ? Math.abs((b[0] - a[0]) * (a[1] - stroke[i][1]) - (a[0] - stroke[i][0]) * (b[1] - a[1])) / length : Math.hypot(stroke[i][0] - a[0], stroke[i][1] - a[1]);
        if (off > worst[0]) worst = [off, i];
      }
    }
    if (worst[1] < 0) break;
    kept.add(worst[1]);
  }
  return [...kept].sort((a, b) => a - b).map((i) => stroke[i]);
}

export function where(track, at) {
  if (at <= track[0][0]) return track[0].slice(1);
  for (let i = 1; i < track.length; i += 1) {
    if (at > track[i][0]) continue;
    const part = (at - track[i - 1][0]) / (track[i][0] - track[i - 1][0]);
    return [1, 2].map((k) => track[i - 1][k] + (track[i][k] - track[i - 1][k]) * part);
  }
  return track.at(-1).slice(1);
}

export function pathsPanel(stop) {
  let chosen = Math.max(0, draft.tracks.findIndex((one) => one.length));
  let stroke = null;
  const back = draft.given.find((one) => one.thumb);
  const stage = h("div", { class: "paths-stage" }, back ? h("img", { src: back.thumb, alt: "", draggable: false }) : h("div", { class: "stars" }));
  const [width, height] = sizeOf().split("x").map(Number);
  stage.style.aspectRatio = `${width} / ${height}`;
  stage.style.maxWidth = `${(26 * width) / height}rem`;
  const lines = svg("svg", { viewBox: "0 0 100 100", preserveAspectRatio: "none", "aria-hidden": "true" });
  const points = h("div", { class: "points" });
  const ghosts = names.map((_, i) => h("i", { class: `ghost thing-${i}`, hidden: true }));
  stage.append(lines, points, ...ghosts);
  const track = () => (draft.tracks[chosen] ??= []);
  while (draft.tracks.length < 3) draft.tracks.push([]);
  const spread = () => { track().forEach((point, i, all) => { point[0] = rounded((span() * i) / Math.max(1, all.length - 1)); }); };
  const place = (element, x, y) => { element.style.left = `${100 * x}%`; element.style.top = `${100 * y}%`; };
  const here = (event) => {
    const box = stage.getBoundingClientRect();
    return [clamp((event.clientX - box.left) / box.width, 0, 1), clamp((event.clientY - box.top) / box.height, 0, 1)];
  };
  let now = 0;
  const haunt = () => draft.tracks.forEach((one, i) => { ghosts[i].hidden = !one.length; if (one.length) place(ghosts[i], ...where(one, now)); });

  const draw = (focus = -1) => {
    lines.replaceChildren(...draft.tracks.map((one, i) => svg("polyline", { class: `thing-${i}${i === chosen ? " chosen" : ""}`, points: one.map(([, x, y]) => `${100 * x},${100 * y}`).join(" ") })));
    points.replaceChildren(...track().map((point, i) => {
      const one = h("button", { type: "button", class: `dot thing-${chosen}`, "aria-label": `Point ${i + 1} of the ${names[chosen].toLowerCase()}: ${point[0]} s, ${Math.round(100 * point[1])} % across, ${Math.round(100 * point[2])} % down`, title: `${point[0]} s`,
        onpointerdown: (event) => { event.stopPropagation(); one.setPointerCapture(event.pointerId); },
        onpointermove: (event) => { if (one.hasPointerCapture(event.pointerId)) { [point[1], point[2]] = here(event).map((value) => rounded(value)); place(one, point[1], point[2]); lines.children[chosen].setAttribute("points", track().map(([, x, y]) => `${100 * x},${100 * y}`).join(" ")); haunt(); } },
        onlostpointercapture: () => { save(); draw(i); },
        onkeydown: (event) => {
          const by = { ArrowLeft: [-0.02, 0], ArrowRight: [0.02, 0], ArrowUp: [0, -0.02], ArrowDown: [0, 0.02] }[event.key];
          if (by) { point[1] = rounded(clamp(point[1] + by[0], 0, 1)); point[2] = rounded(clamp(point[2] + by[1], 0, 1)); } else if (event.key === "Delete" || event.key === "Backspace") { track().splice(i, 1); } else return;
          event.preventDefault();
          save();
          draw(Math.min(i, track().length - 1));
        } }, String(i + 1));
      place(one, point[1], point[2]);
      return one;
    }));
    haunt();
    times.replaceChildren(...track().map((point, i) => {
      const input = h("input", { type: "number", min: "0", max: "60", step: "0.1", "aria-label": `Seconds of point ${i + 1}`, onchange: () => {
        const least = i ? track()[i - 1][0] + 0.01 : 0;
        point[0] = rounded(clamp(Number(input.value) || 0, least, i + 1 < track().length ? track()[i + 1][0] - 0.01 : 60));
        save();
        draw();
      } });
      input.value = point[0];
      return h("label", {}, h("span", {}, `${i + 1}`), input);
    }));
    if (focus >= 0) points.children[focus]?.focus();
  };
  const times = h("div", { class: "times", role: "group", "aria-label": "Seconds of the points" });
  stage.addEventListener("pointerdown", (event) => { stage.setPointerCapture(event.pointerId); stroke = [[...here(event), event.timeStamp]]; });
  stage.addEventListener("pointermove", (event) => {
    if (!stroke || !stage.hasPointerCapture(event.pointerId)) return;
    stroke.push([...here(event), event.timeStamp]);
    lines.children[chosen].setAttribute("points", stroke.map(([x, y]) => `${100 * x},${100 * y}`).join(" "));
  });
  stage.addEventListener("lostpointercapture", (event) => {
    if (event.target !== stage || !stroke) return;
    const done = stroke;
    stroke = null;
    if (done.length < 4) { // a click sets one more point
      track().push([0, rounded(done[0][0]), rounded(done[0][1])]);
      spread();
    } else { // how fast one draws is how fast it goes
      const [start, end] = [done[0][2], done.at(-1)[2]];
      draft.tracks[chosen] = fewer(done).map(([x, y, when]) => [rounded((span() * (when - start)) / Math.max(1, end - start)), rounded(x), rounded(y)])
        .filter((point, i, all) => !i || point[0] > all[i - 1][0]);
    }
    save();
    draw();
  });
  let frame;
  const play = (clock) => {
    now = (clock / 1000) % (span() + 0.6);
    haunt();
    if (stage.isConnected || !clock) frame = requestAnimationFrame(play);
  };
  if (!calm()) frame = requestAnimationFrame(play);
  stop.push(() => cancelAnimationFrame(frame));
  const tabs = h("div", { class: "chips", role: "group", "aria-label": "Which thing" }, names.map((name, i) => h("button", { type: "button", class: `thing-${i}`, "aria-pressed": String(i === chosen), onclick: () => {
    chosen = i;
    [...tabs.children].forEach((button, at) => button.setAttribute("aria-pressed", String(at === i)));
    draw();
  } }, name)));
  draw();
  return [h("div", { class: "camera" }, stage, h("div", { class: "beside" }, tabs,
    h("p", { class: "soft small" }, "Draw its way on the picture: how fast you draw is how fast it goes. Or click point by point; arrow keys move a point, Delete takes it away."),
    times,
    range("Look at", { min: 0, max: 1, step: 0.01, value: 0, says: (value) => `${(value * span()).toFixed(1)} s` }, (value) => { cancelAnimationFrame(frame); now = value * span(); haunt(); }),
    h("div", { class: "row" }, h("button", { type: "button", class: "quiet", onclick: () => { const last = track().at(-1); track().push([0, last ? Math.min(1, rounded(last[1] + 0.15)) : 0.3, last?.[2] ?? 0.6]); spread(); save(); draw(track().length - 1); } }, "＋ Point"),
      h("button", { type: "button", class: "quiet", onclick: () => { spread(); save(); draw(); } }, "Even times"),
      h("button", { type: "button", class: "quiet", onclick: () => { draft.tracks[chosen] = []; save(); draw(); } }, "Clear"))))];
}
