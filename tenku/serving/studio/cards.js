// How a video looks in a list: its picture, its words, and how far it is. Cards are dragged onto each other, or picked.
import { ago, calm, h, lasting, looping, tried } from "./dom.js";
import { cancel, content } from "./api.js";
import { still } from "./media.js";
import { follow } from "./watch.js";
import { carries, DRAGGED, isPicked, pick } from "./hand.js";

export { still };
export const shape = (video) => video.size.replace("x", " / ");

function picture(video) {
  const frame = h("div", { class: "frame" });
  if (video.status === "completed") {
    frame.append(still(video) || calm()
      ? h("img", { src: content(video.id, "thumbnail"), alt: "", loading: "lazy" })
      : looping(content(video.id), content(video.id, "thumbnail"), ""));
  } else if (video.status === "failed") {
    frame.append(h("div", { class: "stars" }), h("p", { class: "note" }, video.error?.code === "cancelled" ? "cancelled" : video.error?.message ?? "failed"));
  } else {
    frame.append(h("div", { class: "stars" }));
    frame.classList.add("sketch");
  }
  return frame;
}

const names = { extend: "longer", blend: "blend", loop: "loop", edit: "edited" };
const kind = (video) => (video.tenku.film ? "film" : names[video.tenku.mode] ?? (video.remixed_from_video_id ? "remix" : ""));

export function card(video, { extra = [], fresh = false } = {}) {
  const ready = video.status === "completed";
  const link = h("a", { href: `#/clip/${video.id}`, draggable: ready }, picture(video), h("span", { class: "said" }, video.prompt));
  const picked = ready && h("button", { type: "button", class: "pick", "aria-pressed": String(isPicked(video.id)), "data-pick": video.id,
    "aria-label": `Pick ${video.prompt}`, title: "Pick it, to compare, blend or make a film of several", onclick: () => pick(video) }, h("i"));
  const element = h("article", { class: `card${video.status === "failed" ? " dim" : ""}` }, link, picked,
    fresh && h("span", { class: "fresh" }, "new"),
    h("p", { class: "meta" }, h("span", {}, [kind(video), still(video) ? "image" : `${video.seconds} s`, ago(video.created_at)].filter(Boolean).join(" · ")), ...extra));
  if (ready) {
    link.addEventListener("dragstart", (event) => {
      event.dataTransfer.setData(DRAGGED, JSON.stringify(video));
      event.dataTransfer.setData("text/plain", video.prompt);
      event.dataTransfer.effectAllowed = "copyLink";
      element.classList.add("held");
    });
    link.addEventListener("dragend", () => element.classList.remove("held"));
    carries(element, video);
  }
  return element;
}

// A card that follows its job until `done(video, element)`; what it needs to be let go of is given to `leaving`.
export function living(video, { leaving, done }) {
  const frame = picture(video);
  const track = h("i");
  const bar = h("div", { class: "track", role: "progressbar", "aria-label": `Progress of ${video.prompt}`, "aria-valuemin": "0", "aria-valuemax": "100" }, track);
  const words = h("span");
  const stop = h("button", { type: "button", onclick: tried(() => cancel(video.id)) }, "Cancel");
  const element = h("article", { class: "card" }, h("a", { href: `#/clip/${video.id}` }, frame, h("span", { class: "said" }, video.prompt)), bar,
    h("p", { class: "meta" }, words, stop));
  let shown = null;
  const update = (now) => {
    if (now === null) return element.remove();
    if (now.status === "completed" || now.status === "failed") return done(now, element);
    const { steps_done: steps, steps_total: total, eta_seconds: eta, preview, film } = now.tenku;
    track.style.transform = `scaleX(${total ? steps / total : 0})`;
    bar.setAttribute("aria-valuenow", String(now.progress));
    words.textContent = now.status === "queued" ? `waiting · ${lasting(eta) || "your turn comes"}`
      : total ? `${film?.making ? `${film.making}, ` : ""}step ${steps} of ${total} · ${lasting(eta)}` : "getting ready";
    if (preview !== null && preview !== shown) {
      shown = preview;
      const image = h("img", { src: content(now.id, "preview", preview), alt: "" });
      image.style.filter = `blur(${(6 * (1 - steps / Math.max(1, total))).toFixed(1)}px)`;
      image.decode().then(() => frame.replaceChildren(image)).catch(() => {});
    }
    return undefined;
  };
  update(video);
  leaving(follow(video, update));
  return element;
}
