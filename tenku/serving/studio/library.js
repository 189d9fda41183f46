// Everything that was made: a wall of clips.
import { h, say } from "./dom.js";
import { list } from "./api.js";
import { card, living } from "./cards.js";

const filters = [["completed", "Finished"], ["", "All"], ["failed", "Failed"]];
let chosen = null; // the first of two to compare

export async function library(place, { leaving, query }) {
  const state = { words: query.get("words") ?? "", status: "completed", after: null, more: true, busy: false, turn: 0 };
  const wall = h("div", { class: "wall" });
  const end = h("p", { class: "soft", "aria-live": "polite" });
  const search = h("input", { type: "search", placeholder: "red ball, moon, night", "aria-label": "Search in prompts" });
  search.value = state.words;
  let wait;
  search.addEventListener("input", () => { clearTimeout(wait); wait = setTimeout(() => { state.words = search.value; again(); }, 250); });
  const buttons = filters.map(([value, label]) => h("button", { type: "button", "aria-pressed": String(value === state.status), onclick: () => {
    state.status = value;
    buttons.forEach((button, i) => button.setAttribute("aria-pressed", String(filters[i][0] === value)));
    again();
  } }, label));

  const piece = (video) => {
    if (video.status === "queued" || video.status === "in_progress")
      return living(video, { leaving, done: (now, element) => element.replaceWith(piece(now)) });
    return card(video, video.status === "completed" ? [h("button", { type: "button", "aria-label": `Compare ${video.prompt}`, "aria-pressed": String(chosen === video.id), onclick: (event) => pick(video, event.currentTarget) }, "Compare")] : []);
  };
  const pick = (video, button) => {
    if (chosen === video.id) { chosen = null; button.setAttribute("aria-pressed", "false"); return; }
    if (chosen) { const one = chosen; chosen = null; location.hash = `#/compare/${one}/${video.id}`; return; }
    chosen = video.id;
    button.setAttribute("aria-pressed", "true");
    say("Now choose the clip to compare it with");
  };
  const next = async () => {
    if (state.busy || !state.more) return;
    state.busy = true;
    const turn = state.turn;
    const ask = { limit: 48 };
    if (state.words.trim()) ask.words = state.words.trim();
    if (state.status) ask.status = state.status;
    if (state.after) ask.after = state.after;
    try {
      const page = await list(ask);
      if (turn !== state.turn) return;
      wall.append(...page.data.map(piece));
      state.after = page.last_id;
      state.more = page.has_more;
      end.textContent = wall.children.length ? (state.more ? "" : "That is all") : state.words ? "Nothing with these words" : "Nothing here yet";
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
  const look = () => { if (end.getBoundingClientRect().top < innerHeight + 600 && state.more) next().then(() => state.more && look()); };
  addEventListener("scroll", look, { passive: true });
  leaving(() => removeEventListener("scroll", look));
  place.append(h("header", {}, h("h1", {}, "Library")), h("div", { class: "tools" }, search, h("div", { class: "row", role: "group", "aria-label": "Which clips" }, buttons)), wall, end);
  await next();
}
