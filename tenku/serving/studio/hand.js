// What one has in hand: files dragged in from anywhere, cards dragged onto cards, and cards picked one after the other.
import { h, say, tried } from "./dom.js";
import { content } from "./api.js";
import { begin, give } from "./draft.js";
import { brought, own, still } from "./media.js";

export const DRAGGED = "application/x-tenku-video";
const picked = new Map(); // id -> video, in the order of picking
let takers = []; // pages that take files themselves, the last first

export const isPicked = (id) => picked.has(id);
const go = (to) => (location.hash === to ? dispatchEvent(new HashChangeEvent("hashchange")) : (location.hash = to));

// -- dragging a card onto a card ------------------------------------------------------------------------------

export function blend(one, two) {
  begin([own(one), own(two)], still(one) || still(two) ? "keyframes" : "transition", `${one.prompt} becomes ${two.prompt}`.slice(0, 2000));
  go("#/");
}

const dragged = (event) => { try { return JSON.parse(event.dataTransfer.getData(DRAGGED)); } catch { return null; } };
const holds = (event, kind) => [...(event.dataTransfer?.types ?? [])].includes(kind);

// Lets another card be dropped on this one.
export function carries(element, video) {
  let depth = 0;
  const calm = () => { depth = 0; element.classList.remove("under"); };
  element.addEventListener("dragenter", (event) => { if (holds(event, DRAGGED)) { event.preventDefault(); depth += 1; element.classList.add("under"); } });
  element.addEventListener("dragleave", () => { depth -= 1; if (depth <= 0) calm(); });
  element.addEventListener("dragover", (event) => { if (holds(event, DRAGGED)) { event.preventDefault(); event.dataTransfer.dropEffect = "link"; } });
  element.addEventListener("drop", (event) => {
    const other = dragged(event);
    calm();
    if (!other || other.id === video.id) return;
    event.preventDefault();
    event.stopPropagation();
    blend(other, video);
  });
}

// -- picking --------------------------------------------------------------------------------------------------

export function pick(video) {
  picked.has(video.id) ? picked.delete(video.id) : picked.set(video.id, video);
  shown();
}
export function unpick() {
  picked.clear();
  shown();
}

function shown() {
  for (const button of document.querySelectorAll("[data-pick]")) button.setAttribute("aria-pressed", String(picked.has(button.dataset.pick)));
  const tray = document.getElementById("tray");
  const videos = [...picked.values()];
  tray.hidden = !videos.length;
  const [one, two] = videos;
  const act = (label, work, strong) => h("button", { type: "button", class: strong ? "main" : "", onclick: () => { unpick(); work(); } }, label);
  tray.replaceChildren(
    h("div", { class: "strip" }, videos.slice(-6).map((video) => h("img", { src: content(video.id, "thumbnail"), alt: "" }))),
    h("p", { class: "small" }, videos.length === 1 ? "One picked. Pick another to compare or blend." : `${videos.length} picked`),
    h("div", { class: "row" },
      videos.length === 1 && act("Work on it", () => { begin([own(one)], "", one.prompt); go("#/"); }),
      videos.length === 2 && act("Compare", () => go(`#/compare/${one.id}/${two.id}`)),
      videos.length === 2 && act("Blend", () => blend(one, two), true),
      videos.length > 1 && act("Film of them", () => { import("./film.js").then((film) => { film.begin(videos); go("#/film"); }); }),
      h("button", { type: "button", onclick: unpick }, "Let go")));
}

// -- files from outside ---------------------------------------------------------------------------------------

// A page that takes files itself; returns how to stop.
export function takes(taker) {
  takers.unshift(taker);
  return () => { takers = takers.filter((one) => one !== taker); };
}

export const bring = tried(async (files) => {
  const list = [...files].slice(0, 16);
  if (!list.length) return;
  if (takers.length) { takers[0](list); return; }
  say(list.length === 1 ? `Taking ${list[0].name || "the picture"} …` : `Taking ${list.length} files …`);
  const pieces = [];
  for (const file of list) pieces.push(await brought(file));
  give(pieces);
  go("#/");
  say(pieces.length === 1 ? "It is there. Now say what shall become of it." : "They are there. Now say what shall become of them.");
});

export function everywhere() {
  const veil = document.getElementById("veil");
  let depth = 0;
  const away = () => { depth = 0; veil.hidden = true; };
  addEventListener("dragenter", (event) => { if (holds(event, "Files")) { event.preventDefault(); depth += 1; veil.hidden = false; } });
  addEventListener("dragleave", (event) => { if (holds(event, "Files")) { depth -= 1; if (depth <= 0) away(); } });
  addEventListener("dragover", (event) => { if (holds(event, "Files") || holds(event, DRAGGED)) event.preventDefault(); });
  addEventListener("drop", (event) => {
    away();
    if (event.defaultPrevented) return;
    const video = dragged(event);
    event.preventDefault();
    if (video && location.hash.replace(/^#\/?/, "") === "") { give([own(video)]); go("#/"); } else if (event.dataTransfer.files.length) bring(event.dataTransfer.files);
  });
  addEventListener("paste", (event) => {
    if (event.clipboardData?.files.length) { event.preventDefault(); bring(event.clipboardData.files); }
  });
}
