// Everything that was made: a wall of clips.
import { choice, fill, h, say } from "./dom.js";
import { list } from "./api.js";
import { card, living } from "./cards.js";

const states = [["completed", "Finished"], ["", "All"], ["failed", "Failed"]];
const kinds = [["", "Everything"], ["clips", "Clips"], ["images", "Images"], ["films", "Films"], ["made", "Made from others"]];

export async function library(place, { leaving, query }) {
  const state = { words: query.get("words") ?? "", status: "completed", kind: "", order: "desc", after: null, more: true, busy: false, turn: 0 };
  const wall = h("div", { class: "wall" });
  const end = h("p", { class: "soft", "aria-live": "polite" });
  const search = h("input", { type: "search", placeholder: "red ball, moon, night", "aria-label": "Search in prompts" });
  search.value = state.words;
  let wait;
  search.addEventListener("input", () => { clearTimeout(wait); wait = setTimeout(() => { state.words = search.value; again(); }, 250); });
  const order = h("select", { "aria-label": "Order", onchange: () => { state.order = order.value; again(); } }, h("option", { value: "desc" }, "Newest first"), h("option", { value: "asc" }, "Oldest first"));
  const piece = (video) => (video.status === "queued" || video.status === "in_progress"
    ? living(video, { leaving, done: (now, element) => element.replaceWith(piece(now)) }) : card(video));
  const next = async () => {
    if (state.busy || !state.more) return;
    state.busy = true;
    const { turn } = state;
    const ask = { limit: 48, order: state.order };
    if (state.words.trim()) ask.words = state.words.trim();
    if (state.status) ask.status = state.status;
    if (state.kind) ask.kind = state.kind;
    if (state.after) ask.after = state.after;
    try {
      const page = await list(ask);
      if (turn !== state.turn) return;
      wall.append(...page.data.map(piece));
      state.after = page.last_id;
      state.more = page.has_more;
      end.textContent = wall.children.length ? (state.more ? "" : "That is all") : state.more ? "" : state.words ? "Nothing with these words" : "Nothing here yet";
    } catch (error) {
      say(error.message, true);
      state.more = false;
    } finally {
      if (turn === state.turn) state.busy = false;
    }
  };
  const again = () => {
    Object.assign(state, { after: null, more: true, busy: false, turn: state.turn + 1 });
    wall.replaceChildren();
    next().then(look);
  };
  const look = () => { if (end.isConnected && end.getBoundingClientRect().top < innerHeight + 600 && state.more && !state.busy) next().then(look); };
  addEventListener("scroll", look, { passive: true });
  leaving(() => removeEventListener("scroll", look));
  fill(place, h("header", {}, h("h1", {}, "Library"), h("p", { class: "soft small" }, "Drag one clip onto another and they blend. Or pick several with the ring in their corner.")),
    h("div", { class: "tools" }, search, order, choice("State", states, state.status, (value) => { state.status = value; again(); }), choice("Kind", kinds, state.kind, (value) => { state.kind = value; again(); })), wall, end);
  await next();
  look();
}
