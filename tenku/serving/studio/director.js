// The director's suggestions: what it would add to short words, each of which can be left out.
import { h, say } from "./dom.js";
import { direct } from "./api.js";
import { draft, save } from "./draft.js";

// Takes a phrase that was added out again: " at sunset", ", the camera pans left", or "red " with its article.
export function without(text, phrase) {
  for (const joint of [", ", " "]) {
    const at = text.indexOf(joint + phrase);
    if (at < 0) continue;
    const rest = text.slice(0, at) + text.slice(at + joint.length + phrase.length);
    return rest.replace(/\b(an?) (\w)/gi, (all, article, letter) => `${/a/.test(article[0]) ? "a" : "A"}${/[aeiou]/i.test(letter) ? "n" : ""} ${letter}`);
  }
  return text;
}

export function director(prompt, seed) {
  let answer = null; // { prompt, added } to `asked`
  let asked = "";
  let turn = 0;
  let wait;
  const own = Math.floor(Math.random() * 1e6);
  const offered = () => draft.turn + (Number(seed()) || own);
  const box = h("input", { type: "checkbox", checked: draft.direct, onchange: () => { draft.direct = box.checked; save(); paint(); look(); } });
  const text = h("p", { class: "quote", "aria-live": "polite" });
  const chips = h("div", { class: "chips", role: "group", "aria-label": "What the director added" });
  const other = h("button", { type: "button", class: "quiet", onclick: () => { draft.turn += 1; draft.dropped = []; save(); look(0); } }, "Other suggestions");
  const panel = h("div", { class: "director" }, h("label", { class: "row" }, box, "Let the director complete my words"), text, chips, other);

  const result = () => (answer ? draft.dropped.filter((phrase) => answer.added.includes(phrase)).reduce(without, answer.prompt) : "");
  const paint = () => {
    const on = draft.direct && prompt().trim();
    text.hidden = chips.hidden = !on || !answer;
    other.hidden = !on;
    if (!on || !answer) return;
    text.textContent = result();
    chips.replaceChildren(...answer.added.map((phrase) => h("button", { type: "button", "aria-pressed": String(!draft.dropped.includes(phrase)), title: "Press to leave it out, or to take it back", onclick: (event) => {
      draft.dropped = draft.dropped.includes(phrase) ? draft.dropped.filter((one) => one !== phrase) : [...draft.dropped, phrase];
      event.currentTarget.setAttribute("aria-pressed", String(!draft.dropped.includes(phrase)));
      text.textContent = result();
      save();
    } }, phrase)), ...(answer.added.length ? [] : [h("span", { class: "soft small" }, "Nothing is missing.")]));
  };
  const ask = async (words, number) => {
    const key = `${number} ${words}`;
    if (key === asked && answer) return;
    const mine = (turn += 1);
    const found = await direct({ prompt: words, seed: number });
    if (mine !== turn) return;
    asked = key;
    answer = found;
    paint();
  };
  const look = (delay = 350) => {
    clearTimeout(wait);
    if (!draft.direct || !prompt().trim()) return paint();
    wait = setTimeout(() => ask(prompt(), offered()).catch((error) => say(error.message, true)), delay);
    return undefined;
  };
  look(0);
  paint();
  return {
    panel, changed: () => look(), end: () => clearTimeout(wait),
    // The prompt to send: completed where the director is asked, as it is shown.
    whole: async (words, number) => {
      if (!draft.direct) return words;
      await ask(words, seed() ? draft.turn + Number(number) : offered());
      return result();
    },
  };
}
