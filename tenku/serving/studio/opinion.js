// What people think of a clip, asked for where they look at it; and which of two is better.
import { h, icon, keep, kept, say, tried } from "./dom.js";
import { feedback } from "./api.js";

// A box that is ticked as it was the last time: consent is asked for once and can be taken back at every opinion.
function consent(text) {
  const box = h("input", { type: "checkbox", checked: kept("consent", false), onchange: () => keep("consent", box.checked) });
  return [box, h("label", { class: "row small" }, box, text)];
}

function reasonChips(reasons, chosen) {
  return reasons.map((reason) => h("button", { type: "button", "aria-pressed": String(chosen.has(reason)), onclick: (event) => {
    chosen.has(reason) ? chosen.delete(reason) : chosen.add(reason);
    event.currentTarget.setAttribute("aria-pressed", String(chosen.has(reason)));
  } }, reason));
}

export function opinion(video, reasons) {
  const [agreed, consenting] = consent("It may be learnt from");
  const words = h("input", { maxLength: 2000, placeholder: "In your own words", "aria-label": "In your own words" });
  const why = h("div", { class: "chips", role: "group", "aria-label": "Reasons", hidden: true });
  const chosen = new Set();
  let rating = 0;
  const send = tried(async (extra = {}) => {
    await feedback(video.id, { rating, reasons: [...chosen], words: words.value, consent: agreed.checked, ...extra });
    say("Thank you. It is kept with the clip.");
  });
  const thumbs = [[1, "Good", "up"], [-1, "Not good", "down"]].map(([value, label, sign]) => h("button", { type: "button", "aria-pressed": "false", onclick: (event) => {
    rating = value;
    for (const one of thumbs) one.setAttribute("aria-pressed", String(one === event.currentTarget));
    chosen.clear();
    why.replaceChildren(...reasonChips(reasons[value > 0 ? "good" : "bad"], chosen));
    why.hidden = rest.hidden = false;
  } }, icon(sign), label));
  const rest = h("div", { class: "field", hidden: true }, words, consenting, h("div", { class: "row" }, h("button", { type: "button", onclick: () => send() }, "Send")));
  let sure = false;
  const flag = h("button", { type: "button", class: "quiet bad", onclick: () => {
    if (!sure) { sure = true; flag.textContent = "Flag it as harmful?"; return; }
    send({ harmful: true, rating: -1 });
  } }, "Flag as harmful");
  return h("section", { class: "panel" }, h("h2", {}, "What do you think?"), h("div", { class: "row" }, thumbs), why, rest, flag);
}

export function preference(videos, reasons) {
  const [agreed, consenting] = consent("My choice may be learnt from");
  const words = h("input", { maxLength: 2000, placeholder: "Why? In your own words", "aria-label": "Why, in your own words" });
  const chosen = new Set();
  const prefer = tried(async (better, worse) => {
    await feedback(better.id, { rating: 1, better_than: worse.id, reasons: [...chosen], words: words.value, consent: agreed.checked });
    say("Noted. Thank you.");
  });
  return h("section", { class: "panel" }, h("h2", {}, "Which is better?"),
    h("div", { class: "row" }, ["The left one is better", "The right one is better"].map((label, i) => h("button", { type: "button", onclick: () => prefer(videos[i], videos[1 - i]) }, label))),
    h("div", { class: "chips", role: "group", "aria-label": "Because it is" }, reasonChips(reasons.good, chosen)), h("div", { class: "field" }, words), consenting);
}
