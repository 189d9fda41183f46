// Words in, a clip out.
import { calm, h, say } from "./dom.js";
import { create, list, status } from "./api.js";
import { card, living } from "./cards.js";

const shapes = { wide: ["128x80", "Wide, 128 by 80"], tall: ["80x128", "Tall, 80 by 128"], square: ["96x96", "Square, 96 by 96"] };
const starters = ["a red ball bouncing on a beach at sunset", "a white rocket takes off on the moon", "a purple butterfly flies across a meadow in fog"];
const rows = [["subject", "Things"], ["colour", "Colours"], ["place", "Places"], ["light", "Light"], ["camera", "Camera"]];
const any = (values) => values[Math.floor(Math.random() * values.length)];

// What is typed survives going to another page and coming back.
const draft = { prompt: "", shape: "wide", seconds: "2", steps: "30", guidance: "4", negative: "", seed: "" };

export async function make(place, { leaving, query }) {
  const { words, models } = await status();
  for (const [from, to] of [["prompt", "prompt"], ["seed", "seed"], ["negative_prompt", "negative"]])
    if (query.get(from)) draft[to] = query.get(from);
  const prompt = h("textarea", { id: "prompt", name: "prompt", rows: 3, maxLength: 2000, placeholder: "A red ball bouncing on a beach at sunset", "aria-describedby": "hint", oninput: () => { draft.prompt = prompt.value; } });
  prompt.value = draft.prompt;
  const bound = (name, properties) => {
    const input = h("input", { ...properties, name, oninput: () => { draft[name] = input.value; shown?.(); } });
    input.value = draft[name];
    const output = properties.type === "range" ? h("span", {}) : null;
    const shown = output ? (() => { output.textContent = name === "seconds" ? (input.value === "0" ? "an image" : `${input.value} s`) : input.value; }) : null;
    shown?.();
    return [input, output];
  };
  const [seconds, length] = bound("seconds", { type: "range", min: "0", max: "8", step: "0.5" });
  const [steps, count] = bound("steps", { type: "range", min: "5", max: "100", step: "5" });
  const [guidance, pull] = bound("guidance", { type: "range", min: "1", max: "10", step: "0.5" });
  const [seed] = bound("seed", { inputMode: "numeric", placeholder: "any", maxLength: 19 });
  const [negative] = bound("negative", { maxLength: 2000, placeholder: "night" });
  const model = h("select", { name: "model" }, models.map((name) => h("option", { value: name }, name)));
  const go = h("button", { class: "main", type: "submit" }, "Make it");
  const active = h("div", { class: "wall" });
  const recent = h("div", { class: "wall" });
  let welcome = null;
  const underway = h("section", { hidden: true, "aria-label": "Being made" }, active);

  const track = (video) => {
    underway.hidden = false;
    welcome && welcome.remove();
    active.prepend(living(video, { leaving, done: (now, element) => finished(now, element, { recent, underway, active }) }));
  };
  const start = async (event) => {
    event?.preventDefault();
    if (!prompt.value.trim()) { prompt.focus(); return say("Say what to show", true); }
    go.disabled = true;
    const [size] = shapes[draft.shape];
    const chosen = seed.value.trim() || String(Math.floor(Math.random() * 1e6));
    const fields = { prompt: prompt.value, size, seconds: seconds.value, steps: steps.value, guidance: guidance.value, seed: chosen, negative_prompt: negative.value, model: model.value };
    try {
      track(await create(fields));
      say("On its way. You can leave; it goes on.");
    } catch (error) {
      say(error.message, true);
      form.elements[error.param]?.focus?.();
    }
    go.disabled = false;
  };
  const form = h("form", { class: "composer", onsubmit: start, onkeydown: (event) => { if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) start(event); } },
    h("label", { class: "skip", for: "prompt" }, "What to show"), prompt,
    h("div", { class: "under" },
      h("div", { class: "controls" },
        h("fieldset", {}, h("legend", {}, "Shape"), h("div", { class: "shapes" }, Object.entries(shapes).map(([name, [, label]]) => {
          const radio = h("input", { type: "radio", name: "shape", value: name, "aria-label": label, checked: name === draft.shape, onchange: () => { draft.shape = name; } });
          return h("label", { class: name, title: label }, radio, h("i"));
        }))),
        h("label", { class: "field" }, h("span", {}, "Length ", length), seconds),
        h("label", { class: "field seed" }, h("span", {}, "Seed"), seed)),
      h("div", { class: "row" }, h("button", { type: "button", onclick: () => { prompt.value = draft.prompt = invented(words); prompt.focus(); } }, "Surprise me"), go)));
  const more = h("details", {}, h("summary", {}, "More: steps, guidance, what to avoid"),
    h("div", { class: "controls" },
      h("label", { class: "field" }, h("span", {}, "Steps ", count), steps),
      h("label", { class: "field" }, h("span", {}, "Guidance ", pull), guidance),
      h("label", { class: "field" }, h("span", {}, "Avoid"), negative),
      models.length > 1 && h("label", { class: "field" }, h("span", {}, "Model"), model)));
  const add = (word) => { prompt.value = draft.prompt = `${prompt.value.trimEnd()} ${word}`.trimStart(); prompt.focus(); };
  const director = h("details", {}, h("summary", {}, "Words that the bundled model knows"),
    h("div", { class: "words" }, rows.map(([kind, title]) => h("div", {}, h("h3", {}, title),
      h("div", { class: "chips" }, words[kind].map((word) => h("button", { type: "button", onclick: () => add(word) }, word)))))));

  const [page, queued, running] = await Promise.all([list({ limit: 8, status: "completed" }), list({ limit: 50, status: "queued" }), list({ limit: 50, status: "in_progress" })]);
  welcome = !page.data.length && h("section", { class: "panel" }, h("h2", {}, "Begin with one of these"),
    h("div", { class: "chips" }, starters.map((text) => h("button", { type: "button", onclick: () => { prompt.value = draft.prompt = text; start(); } }, text))),
    h("p", { class: "soft small" }, "It is made on this machine, and nothing leaves it. The small model paints places and light well; its things are soft."));
  place.append(
    h("header", {}, h("h1", {}, "What shall appear in the sky?")),
    h("div", {}, form, h("p", { id: "hint", class: "soft small" }, "Ctrl+Enter makes it. Every clip is marked and signed as made by a machine.")),
    underway, welcome || "", h("div", {}, director, more),
    h("section", { "aria-labelledby": "lately" }, h("h2", { id: "lately", hidden: !page.data.length }, "Lately"), recent));
  recent.append(...page.data.map((video) => card(video)));
  [...queued.data, ...running.data].reverse().forEach(track);
  if (!calm() && matchMedia("(pointer: fine)").matches) prompt.focus({ preventScroll: true });
}

function finished(video, element, { recent, underway, active }) {
  element.remove();
  underway.hidden = !active.children.length;
  if (video.status === "failed") {
    if (video.error?.code !== "cancelled") say(video.error?.message ?? "It failed", true);
    return;
  }
  recent.prepend(card(video));
  const heading = document.getElementById("lately");
  if (heading) heading.hidden = false;
  say(`Done: ${video.prompt}`);
  if (document.hidden && "Notification" in window && Notification.permission === "granted")
    new Notification("Your clip is there", { body: video.prompt, tag: video.id });
}

function invented(words) {
  const thing = any(words.subject);
  const colour = any(words.colour);
  const article = /^[aeiou]/.test(colour) ? "an" : "a";
  return `${article} ${colour} ${thing} ${any(words.place)} ${any(words.light)}, ${any(words.camera)}`;
}
