// One clip, large: what it is, what may become of it, where it comes from, and what you think of it.
import { calm, fill, h, say, tried } from "./dom.js";
import { content, remix, remove, status, stream, video as fetchVideo } from "./api.js";
import { living, shape } from "./cards.js";
import { blend, carries } from "./hand.js";
import { begin, tasksFor } from "./draft.js";
import { brought, grabbed, own, still } from "./media.js";
import { begin as watched } from "./watch.js";
import { choose } from "./choose.js";
import { lineage } from "./lineage.js";
import { opinion } from "./opinion.js";

export function player(video, { controls = true } = {}) {
  const frame = h("div", { class: "frame" });
  const [width, height] = video.size.split("x");
  frame.style.aspectRatio = shape(video);
  frame.style.maxWidth = `${(68 * width) / height}vh`; // as high as a screen shows with what stands below
  frame.append(still(video) ? h("img", { src: content(video.id), alt: video.prompt })
    : h("video", { src: content(video.id), poster: content(video.id, "thumbnail"), controls, loop: controls, muted: true, autoplay: controls && !calm(), playsInline: true, preload: "auto", "aria-label": video.prompt }));
  return frame;
}

export async function clip(place, { rest: [id], leaving }) {
  const video = await fetchVideo(id);
  if (video.status === "queued" || video.status === "in_progress") return making(place, video, leaving);
  if (video.status === "failed") {
    fill(place, h("h1", {}, "This one did not come to be"), h("p", { class: "quote" }, video.prompt), h("p", {}, video.error?.message ?? ""),
      h("div", { class: "row" }, h("a", { class: "button", href: again(video) }, "Try again"), removal(video)));
    return undefined;
  }
  const { reasons } = await status();
  const frame = player(video);
  carries(frame, video);
  const ending = still(video) ? "png" : "mp4";
  fill(place, h("div", { class: "stage" },
    h("figure", {}, frame, h("figcaption", {}, h("h1", { class: "quote" }, video.prompt)),
      h("div", { class: "row" },
        h("a", { class: "button", href: content(id), download: `${id}.${ending}` }, "Download"),
        !still(video) && h("a", { class: "button", href: content(id, "spritesheet"), download: `${id}.webp` }, "All frames"),
        h("a", { class: "button", href: again(video) }, "Use these words"), removal(video))),
    h("div", { class: "side" }, onwards(video, frame), remixing(video), opinion(video, reasons)), details(video)));
  const tree = h("div", {});
  fill(place, tree);
  await lineage(tree, video, leaving);
  return undefined;
}

const ROUND = 2.1; // seconds that are dreamt at once; what is longer grows, and can be seen as it does
function making(place, video, leaving) {
  const again_ = () => { if (location.hash === `#/clip/${video.id}`) dispatchEvent(new HashChangeEvent("hashchange")); };
  const early = h("div", { class: "row" });
  if (Number(video.seconds) > ROUND && !video.tenku.film) early.append(h("button", { type: "button", onclick: () => early.replaceChildren(
    h("video", { src: stream(video.id), controls: true, autoplay: true, muted: true, playsInline: true, class: "early", "aria-label": `${video.prompt}, as far as it is made` })) }, "See what is there already"));
  fill(place, h("header", {}, h("h1", {}, "Being made"), h("p", { class: "soft" }, "It grows sharp by itself. You can leave; it goes on.")), h("div", { class: "wall large one" }, living(video, { leaving, done: again_ })), early);
}

const again = (video) => `#/?${new URLSearchParams({ prompt: video.prompt, seed: video.tenku.seed, negative_prompt: video.tenku.negative_prompt })}`;

function removal(video) {
  let sure = false;
  return h("button", { type: "button", class: "bad", onclick: tried(async (event) => {
    if (!sure) { sure = true; event.currentTarget.textContent = "Delete for ever?"; return; }
    await remove(video.id);
    say("Deleted");
    location.hash = "#/library";
  }) }, "Delete");
}

// All that can be made from it leads to the composer, with the clip in hand.
function onwards(video, frame) {
  const go = (task) => { begin([own(video)], task, video.prompt); location.hash = "#/"; };
  const film = frame.querySelector("video");
  return h("section", { class: "panel" }, h("h2", {}, "Go on from here"),
    h("div", { class: "deeds" }, tasksFor([own(video)]).filter(([name]) => name !== "keyframes").map(([name, { label, says }]) => h("button", { type: "button", title: says, onclick: () => go(name) }, label)),
      h("button", { type: "button", title: "The picture that is shown now stands in a new clip", onclick: tried(async () => {
        if (film) { say("Taking this picture …"); begin([await brought(await grabbed(film, "frame"))], "keyframes", video.prompt); } else begin([own(video)], "keyframes", video.prompt);
        location.hash = "#/";
      }) }, film ? "This frame as keyframe" : "As keyframe"),
      h("button", { type: "button", title: "Or drag a card onto another", onclick: async () => { const other = await choose("Blend with", video.id); if (other) blend(video, other); } }, "Blend with …"),
      h("button", { type: "button", onclick: async () => { const other = await choose("Compare with", video.id); if (other) location.hash = `#/compare/${video.id}/${other.id}`; } }, "Compare with …")));
}

function remixing(video) {
  const prompt = h("textarea", { rows: 3, maxLength: 2000, "aria-label": "The new words" });
  prompt.value = video.prompt;
  const go = tried(async (fields) => {
    const made = await remix(video.id, fields);
    watched(made);
    location.hash = `#/clip/${made.id}`;
  });
  return h("form", { class: "panel", onsubmit: (event) => { event.preventDefault(); go({ prompt: prompt.value }); } },
    h("h2", {}, "Remix"), h("p", { class: "soft small" }, "Other words, the same seed, size and length."),
    h("div", { class: "field" }, prompt),
    h("div", { class: "row" }, h("button", { class: "main", type: "submit" }, "Remix"),
      h("button", { type: "button", onclick: () => go({ prompt: video.prompt, seed: Math.floor(Math.random() * 1e6) }) }, "Another take")));
}

function details(video) {
  const { tenku } = video;
  const camera = Array.isArray(tenku.camera) ? `${tenku.camera.length} keys` : tenku.camera;
  const facts = { Size: tenku.facts.size.replace("x", " × "), Length: still(video) ? "an image" : `${tenku.facts.frames} frames, ${tenku.fps} a second`,
    Mode: tenku.mode && tenku.mode !== "generate" ? [tenku.mode, tenku.way].filter(Boolean).join(", ") : "", Seed: tenku.seed, Steps: tenku.steps, Guidance: tenku.guidance, Camera: camera ?? "",
    Avoiding: tenku.negative_prompt, Model: video.model, "Made in": `${tenku.facts.seconds_taken.toFixed(1)} s`, Clip: tenku.facts.clip_id };
  return h("section", { class: "panel" }, h("h2", {}, "How it was made"),
    h("dl", { class: "facts" }, Object.entries(facts).filter(([, value]) => value !== "").flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, String(value))])),
    tenku.facts.notes.map((note) => h("p", { class: "soft small" }, note)));
}
