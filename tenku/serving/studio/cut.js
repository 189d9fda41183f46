// Re-cutting: the spans that are kept; what lies between them is dreamt again.
import { clamp, h, handle, rounded } from "./dom.js";
import { draft, save } from "./draft.js";
import { address } from "./media.js";

const LEAST = 0.15; // seconds that a span or a gap has at least

export function cutPanel() {
  const one = draft.given[0];
  let whole = one.seconds || 2;
  if (!draft.keep.length) draft.keep = [[0, rounded(whole * 0.4)], [rounded(whole * 0.6), rounded(whole)]];
  const film = h("video", { src: address(one), muted: true, playsInline: true, preload: "auto", "aria-label": one.name });
  const strip = h("canvas", { width: 960, height: 90, "aria-hidden": "true" });
  const lane = h("div", { class: "lane cut" });
  const told = h("p", { class: "soft small", "aria-live": "polite" });
  let at = 0;
  const seek = (to) => { at = to; if (film.readyState) film.currentTime = Math.min(to, (film.duration || whole) - 0.01); };
  const tell = () => { told.textContent = `Kept: ${draft.keep.map(([a, b]) => `${a.toFixed(2)} to ${b.toFixed(2)} s`).join(", ")}. The rest of ${whole.toFixed(2)} s is dreamt again.`; };
  const draw = (focus = "") => {
    const gaps = Array.from({ length: draft.keep.length + 1 }, () => h("i", { class: "gap" }));
    const shade = () => gaps.forEach((gap, i) => {
      const [from, to] = [i ? draft.keep[i - 1][1] : 0, i < draft.keep.length ? draft.keep[i][0] : whole];
      gap.style.left = `${(100 * from) / whole}%`;
      gap.style.width = `${(100 * (to - from)) / whole}%`;
    });
    shade();
    const handles = draft.keep.flatMap((piece, i) => [0, 1].map((end) => {
      const edge = handle({
        label: `${end ? "End" : "Beginning"} of piece ${i + 1}`, line: lane, step: 1 / (one.fps ?? 16), kind: `edge ${end ? "right" : "left"}`,
        get: () => piece[end], min: () => (end ? piece[0] + LEAST : i ? draft.keep[i - 1][1] + LEAST : 0),
        max: () => (end ? (i + 1 < draft.keep.length ? draft.keep[i + 1][0] - LEAST : whole) : piece[1] - LEAST),
        set: (to) => { piece[end] = to; seek(to); shade(); tell(); },
        remove: () => without(i), done: save,
      });
      edge.dataset.edge = `${i} ${end}`;
      edge.show(whole);
      return edge;
    }));
    const needle = handle({ label: "Where one looks", line: lane, get: () => at, set: seek, max: () => whole, step: 1 / (one.fps ?? 16), kind: "needle" });
    needle.show(whole);
    lane.replaceChildren(strip, ...gaps, ...handles, needle);
    if (focus) lane.querySelector(`[data-edge="${focus}"]`)?.focus();
    tell();
  };
  const without = (i) => { if (draft.keep.length > 1) draft.keep.splice(i, 1); save(); draw("0 0"); };
  const split = () => {
    const i = draft.keep.findIndex(([a, b]) => at > a + 2 * LEAST && at < b - 2 * LEAST);
    if (i < 0) { told.textContent = "Look into the middle of a kept piece first, then cut there."; return; }
    const [a, b] = draft.keep[i];
    draft.keep.splice(i, 1, [a, rounded(at - LEAST / 2)], [rounded(at + LEAST / 2), b]);
    save();
    draw(`${i} 1`);
  };
  lane.addEventListener("pointerdown", (event) => {
    if (event.target.closest(".handle")) return;
    const box = lane.getBoundingClientRect();
    seek(clamp(((event.clientX - box.left) / box.width) * whole, 0, whole));
    lane.querySelector(".needle")?.show();
  });
  // The pictures along the line, one after the other, as the browser finds them.
  film.addEventListener("loadeddata", async () => {
    if (Number.isFinite(film.duration) && !one.seconds) { whole = film.duration; one.seconds = whole; draw(); }
    const pen = strip.getContext("2d");
    const wide = (strip.height * film.videoWidth) / film.videoHeight;
    const count = Math.ceil(strip.width / wide);
    for (let i = 0; i < count && film.isConnected; i += 1) {
      await new Promise((next) => { film.onseeked = next; film.currentTime = ((i + 0.5) / count) * (film.duration || whole); setTimeout(next, 800); });
      pen.drawImage(film, i * wide, 0, wide, strip.height);
    }
    film.onseeked = null;
    seek(at);
  }, { once: true });
  draw();
  return h("div", { class: "cutting" }, film, h("div", { class: "line" }, lane), told,
    h("div", { class: "row" }, h("button", { type: "button", class: "quiet", onclick: split }, "Cut here"),
      h("button", { type: "button", class: "quiet", onclick: () => { draft.keep = [[0, rounded(whole)]]; save(); draw(); } }, "Keep all"),
      h("span", { class: "soft small" }, "Drag the edges, or use the arrow keys; Delete takes a piece away.")));
}
