// Two clips in step: side by side, or one over the other with a line between them.
import { calm, choice, fill, h, range } from "./dom.js";
import { status, video as fetchVideo } from "./api.js";
import { living } from "./cards.js";
import { player } from "./clip.js";
import { preference } from "./opinion.js";

export async function compare(place, { rest: [one, two], leaving }) {
  const videos = await Promise.all([fetchVideo(one), fetchVideo(two)]);
  const { reasons } = await status();
  const unfinished = videos.filter((video) => video.status === "queued" || video.status === "in_progress");
  if (unfinished.length) {
    let left = unfinished.length;
    fill(place, h("header", {}, h("h1", {}, "Two takes"), h("p", { class: "soft" }, "When both are there, you choose the better.")),
      h("div", { class: "wall large" }, unfinished.map((video) => living(video, { leaving, done: () => { left -= 1; if (!left && place.isConnected) dispatchEvent(new HashChangeEvent("hashchange")); } }))));
    return;
  }
  const frames = videos.map((video) => player(video, { controls: false }));
  const players = frames.map((frame) => frame.querySelector("video")).filter(Boolean);
  const pair = h("div", { class: "pair" }, videos.map((video, i) => h("figure", {}, frames[i],
    h("figcaption", {}, h("a", { href: `#/clip/${video.id}` }, video.prompt), h("p", { class: "soft small" }, `seed ${video.tenku.seed} · ${video.tenku.steps} steps`)))));
  const line = range("Line between them", { min: 0, max: 100, step: 1, value: 50, says: (value) => `${value} %` }, (value) => { frames[1].style.clipPath = `inset(0 0 0 ${value}%)`; });
  line.hidden = true;
  const way = choice("How to look", [["pair", "Side by side"], ["wipe", "One over the other"]], "pair", (value) => {
    pair.classList.toggle("wipe", value === "wipe");
    line.hidden = value !== "wipe";
    frames[1].style.clipPath = value === "wipe" ? "inset(0 0 0 50%)" : "";
  });
  fill(place, h("header", {}, h("h1", {}, "Side by side")), h("div", { class: "row between" }, way, line), pair, ...(players.length ? [transport(players, leaving)] : []), preference(videos, reasons));
}

// One clock for all: the longest clip's. Each shows that moment, and stays at its end until all begin again.
function transport(players, leaving) {
  let at = 0, last = 0, running = !calm(), speed = 1, frame;
  const whole = () => Math.max(0.1, ...players.map((one) => one.duration || 0));
  const show = () => players.forEach((one) => {
    if (one.readyState && !one.seeking && Math.abs(one.currentTime - Math.min(at, one.duration - 0.02)) > 0.02) one.currentTime = Math.max(0, Math.min(at, one.duration - 0.02));
  });
  const scrub = h("input", { type: "range", min: "0", max: "1", step: "0.001", "aria-label": "Time of both", oninput: () => { run(false); at = Number(scrub.value) * whole(); tell(); show(); } });
  const time = h("span", { class: "soft small" });
  const tell = () => { scrub.value = String(at / whole()); time.textContent = `${at.toFixed(2)} s`; scrub.setAttribute("aria-valuetext", time.textContent); };
  const button = h("button", { type: "button", onclick: () => run(!running) });
  const run = (value) => { running = value; button.textContent = value ? "Pause" : "Play"; };
  const step = (by) => h("button", { type: "button", class: "quiet", "aria-label": by > 0 ? "One frame on" : "One frame back", onclick: () => { run(false); at = Math.max(0, Math.min(whole(), at + by / 16)); tell(); show(); } }, by > 0 ? "›" : "‹");
  const tick = (clock) => {
    if (running && players.every((one) => one.readyState > 1)) {
      at += (Math.min(100, clock - last) / 1000) * speed;
      if (at > whole()) at = 0;
      tell();
      show();
    }
    last = clock;
    frame = requestAnimationFrame(tick);
  };
  frame = requestAnimationFrame(tick);
  leaving(() => cancelAnimationFrame(frame));
  run(running);
  tell();
  players.forEach((one) => {
    one.addEventListener("loadedmetadata", () => { at = Number(scrub.value) * whole(); tell(); }); // a part was asked for before the length was known
    one.addEventListener("loadeddata", show);
    one.addEventListener("seeked", show); // a moment was asked for while it looked for another
  });
  return h("div", { class: "transport" }, button, step(-1), scrub, step(1), time, choice("Speed", [[1, "1×"], [0.25, "¼×"]], 1, (value) => { speed = value; }));
}
