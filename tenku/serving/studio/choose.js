// Choosing a clip of one's own in a window over the page.
import { h } from "./dom.js";
import { content, list } from "./api.js";

// Resolves to a video, or to null where one rather does not.
export function choose(title, except = "") {
  const wall = h("div", { class: "wall tiny" });
  const search = h("input", { type: "search", placeholder: "Search", "aria-label": "Search in prompts" });
  const window_ = h("dialog", { class: "chooser", "aria-label": title }, h("div", { class: "row between" }, h("h2", {}, title),
    h("button", { type: "button", class: "x", "aria-label": "Close", onclick: () => window_.close() }, "×")), search, wall);
  document.body.append(window_);
  return new Promise((good) => {
    let found = null;
    const fill = async () => {
      const ask = { limit: 48, status: "completed", ...(search.value.trim() ? { words: search.value.trim() } : {}) };
      const { data } = await list(ask).catch(() => ({ data: [] }));
      wall.replaceChildren(...data.filter((video) => video.id !== except).map((video) => h("button", { type: "button", class: "choice", onclick: () => { found = video; window_.close(); } },
        h("img", { src: content(video.id, "thumbnail"), alt: "", loading: "lazy" }), h("span", {}, video.prompt))));
      if (!wall.children.length) wall.replaceChildren(h("p", { class: "soft" }, "There is no other clip"));
    };
    let wait;
    search.addEventListener("input", () => { clearTimeout(wait); wait = setTimeout(fill, 250); });
    window_.addEventListener("close", () => { window_.remove(); good(found); });
    window_.showModal();
    fill();
  });
}
