// One clip, large: what it is, what to do with it, and what you think of it. And two of them side by side.
import { h, say } from "./dom.js";
import { content, feedback, list, remix, remove, status, video as fetchVideo } from "./api.js";
import { card, living, shape, still } from "./cards.js";

function player(video, muted = true) {
  const frame = h("div", { class: "frame" });
  frame.style.aspectRatio = shape(video);
  frame.append(still(video) ? h("img", { src: content(video.id), alt: video.prompt })
    : h("video", { src: content(video.id), poster: content(video.id, "thumbnail"), controls: true, loop: true, muted, autoplay: !matchMedia("(prefers-reduced-motion: reduce)").matches, playsInline: true, "aria-label": video.prompt }));
  return frame;
}

export async function clip(place, { rest: [id], leaving }) {
  const video = await fetchVideo(id);
  if (video.status === "queued" || video.status === "in_progress") {
    const again = () => { if (location.hash === `#/clip/${id}`) { place.replaceChildren(); clip(place, { rest: [id], leaving }); } };
    place.append(h("h1", {}, "Being made"), h("div", { class: "wall" }, living(video, { leaving, done: again })));
    return;
  }
  if (video.status === "failed") {
    place.append(h("h1", {}, "This one did not come to be"), h("p", { class: "quote" }, video.prompt), h("p", {}, video.error?.message ?? ""),
      h("div", { class: "row" }, h("a", { class: "button", href: again(video) }, "Try again"), removal(video)));
    return;
  }
  const [children, parent, { reasons }] = await Promise.all([
    list({ parent: id, limit: 24 }), video.remixed_from_video_id ? fetchVideo(video.remixed_from_video_id).catch(() => null) : null, status()]);
  const ending = still(video) ? "png" : "mp4";
  place.append(h("div", { class: "stage" },
    h("figure", {}, player(video), h("figcaption", {}, h("h1", { class: "quote" }, video.prompt)),
      h("div", { class: "row" },
        h("a", { class: "button", href: content(id), download: `${id}.${ending}` }, "Download"),
        !still(video) && h("a", { class: "button", href: content(id, "spritesheet"), download: `${id}.webp` }, "All frames"),
        h("a", { class: "button", href: again(video) }, "Use these words"), removal(video))),
    h("div", { class: "side" }, remixing(video), opinion(video, reasons), details(video))));
  const family = [...(parent ? [["Made from", [parent]]] : []), ...(children.data.length ? [["Made from this", children.data]] : [])];
  for (const [title, videos] of family)
    place.append(h("section", {}, h("h2", {}, title), h("div", { class: "wall" }, videos.map((one) => one.status === "completed" || one.status === "failed"
      ? card(one, [h("a", { href: `#/compare/${id}/${one.id}` }, "Compare")]) : card(one)))));
}

const again = (video) => `#/?${new URLSearchParams({ prompt: video.prompt, seed: video.tenku.seed, negative_prompt: video.tenku.negative_prompt })}`;

function removal(video) {
  let sure = false;
  return h("button", { type: "button", class: "bad", onclick: async (event) => {
    if (!sure) { sure = true; event.currentTarget.textContent = "Delete for ever?"; return; }
    try { await remove(video.id); say("Deleted"); location.hash = "#/library"; } catch (error) { say(error.message, true); }
  } }, "Delete");
}

function remixing(video) {
  const prompt = h("textarea", { rows: 3, maxLength: 2000, "aria-label": "The new words" });
  prompt.value = video.prompt;
  const go = async (fields) => {
    try { location.hash = `#/clip/${(await remix(video.id, fields)).id}`; } catch (error) { say(error.message, true); }
  };
  return h("form", { class: "panel", onsubmit: (event) => { event.preventDefault(); go({ prompt: prompt.value }); } },
    h("h2", {}, "Remix"), h("p", { class: "soft small" }, "Other words, the same seed, size and length."),
    h("div", { class: "field" }, prompt),
    h("div", { class: "row" }, h("button", { class: "main", type: "submit" }, "Remix"),
      h("button", { type: "button", onclick: () => go({ prompt: video.prompt, seed: Math.floor(Math.random() * 1e6) }) }, "Another take")));
}

function opinion(video, reasons) {
  const consent = h("input", { type: "checkbox" });
  const words = h("input", { maxLength: 2000, placeholder: "In your own words", "aria-label": "In your own words" });
  const why = h("div", { class: "chips", hidden: true });
  const chosen = new Set();
  const chip = (reason) => h("button", { type: "button", "aria-pressed": "false", onclick: (event) => {
    chosen.has(reason) ? chosen.delete(reason) : chosen.add(reason);
    event.currentTarget.setAttribute("aria-pressed", String(chosen.has(reason)));
  } }, reason);
  let rating = 0;
  const send = async (extra = {}) => {
    try {
      await feedback(video.id, { rating, reasons: [...chosen], words: words.value, consent: consent.checked, ...extra });
      say("Thank you. It is kept with the clip.");
    } catch (error) { say(error.message, true); }
  };
  const thumbs = [[1, "Good"], [-1, "Not good"]].map(([value, label]) => h("button", { type: "button", "aria-pressed": "false", onclick: (event) => {
    rating = value;
    for (const one of thumbs) one.setAttribute("aria-pressed", String(one === event.currentTarget));
    chosen.clear();
    why.replaceChildren(...reasons[value > 0 ? "good" : "bad"].map(chip));
    why.hidden = rest.hidden = false;
  } }, label));
  const rest = h("div", { class: "field", hidden: true }, words, h("label", { class: "row" }, consent, "It may be learnt from"),
    h("div", { class: "row" }, h("button", { type: "button", onclick: () => send() }, "Send"), h("button", { type: "button", class: "bad", onclick: () => send({ harmful: true }) }, "Flag as harmful")));
  return h("section", { class: "panel" }, h("h2", {}, "What do you think?"), h("div", { class: "row" }, thumbs), why, rest);
}

function details(video) {
  const { tenku } = video;
  const facts = { Size: tenku.facts.size.replace("x", " × "), Length: still(video) ? "an image" : `${tenku.facts.frames} frames, ${tenku.fps} a second`,
    Seed: tenku.seed, Steps: tenku.steps, Guidance: tenku.guidance, Avoiding: tenku.negative_prompt, Model: video.model, "Made in": `${tenku.facts.seconds_taken.toFixed(1)} s`, Clip: tenku.facts.clip_id };
  return h("section", { class: "panel" }, h("h2", {}, "How it was made"),
    h("dl", { class: "facts" }, Object.entries(facts).filter(([, value]) => value !== "").flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, String(value))])),
    tenku.facts.notes.map((note) => h("p", { class: "soft small" }, note)));
}

export async function compare(place, { rest: [one, two], leaving }) {
  const videos = await Promise.all([fetchVideo(one), fetchVideo(two)]);
  const frames = videos.map((video) => player(video));
  const players = frames.map((frame) => frame.querySelector("video")).filter(Boolean);
  let timer;
  if (players.length === 2) { // the second follows the first
    const [lead, other] = players;
    other.controls = false;
    lead.addEventListener("play", () => other.play());
    lead.addEventListener("pause", () => other.pause());
    const together = () => { if (other.duration && Math.abs(other.currentTime - lead.currentTime % other.duration) > 0.08) other.currentTime = lead.currentTime % other.duration; };
    lead.addEventListener("seeked", together);
    timer = setInterval(together, 500);
    leaving(() => clearInterval(timer));
  }
  const consent = h("input", { type: "checkbox" });
  const prefer = async (better, worse) => {
    try { await feedback(better, { rating: 1, better_than: worse, consent: consent.checked }); say("Noted. Thank you."); } catch (error) { say(error.message, true); }
  };
  place.append(h("header", {}, h("h1", {}, "Side by side")), h("div", { class: "pair" }, videos.map((video, i) => h("figure", {}, frames[i],
    h("figcaption", {}, h("a", { href: `#/clip/${video.id}` }, video.prompt), h("p", { class: "soft small" }, `seed ${video.tenku.seed} · ${video.tenku.steps} steps`)),
    h("button", { type: "button", onclick: () => prefer(videos[i].id, videos[1 - i].id) }, i ? "The right one is better" : "The left one is better")))),
    h("label", { class: "row" }, consent, "My choice may be learnt from"));
}
