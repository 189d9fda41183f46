// How a video looks in a list: its picture, its words, and how far it is.
import { ago, calm, h, lasting, looping, say } from "./dom.js";
import { cancel, content, follow } from "./api.js";

const shape = (video) => {
  const [width, height] = video.size.split("x").map(Number);
  return `${width} / ${height}`;
};

export const still = (video) => Number(video.seconds) === 0;

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

export function card(video, extra = []) {
  return h("article", { class: `card${video.status === "failed" ? " dim" : ""}` },
    h("a", { href: `#/clip/${video.id}` }, picture(video), h("span", { class: "said" }, video.prompt)),
    h("p", { class: "meta" }, h("span", {}, `${still(video) ? "image" : `${video.seconds} s`} · ${ago(video.created_at)}`), ...extra));
}

// A card that follows its job until `done(video)`; what it needs to be let go of is given to `leaving`.
export function living(video, { leaving, done }) {
  const frame = picture(video);
  const track = h("i");
  const bar = h("div", { class: "track", role: "progressbar", "aria-label": `Progress of ${video.prompt}`, "aria-valuemin": "0", "aria-valuemax": "100" }, track);
  const words = h("span");
  const stop = h("button", { type: "button", onclick: async () => { await cancel(video.id).catch((error) => say(error.message, true)); } }, "Cancel");
  const element = h("article", { class: "card" }, h("a", { href: `#/clip/${video.id}` }, frame, h("span", { class: "said" }, video.prompt)), bar,
    h("p", { class: "meta" }, words, stop));
  let shown = null;
  const update = (now) => {
    if (now === null) return element.remove();
    if (now.status === "completed" || now.status === "failed") return done(now, element);
    const { steps_done: steps, steps_total: total, eta_seconds: eta, preview } = now.tenku;
    track.style.transform = `scaleX(${total ? steps / total : 0})`;
    bar.setAttribute("aria-valuenow", String(now.progress));
    words.textContent = now.status === "queued" ? `waiting · ${lasting(eta) || "your turn comes"}`
      : total ? `step ${steps} of ${total} · ${lasting(eta)}` : "getting ready";
    if (preview !== null && preview !== shown) {
      shown = preview;
      const image = h("img", { src: content(now.id, "preview", preview), alt: "" });
      image.decode().then(() => frame.replaceChildren(image)).catch(() => {});
    }
  };
  update(video);
  leaving(follow(video.id, update));
  return element;
}

export { shape };
