// Words in, a clip out; and whatever else one gives along: pictures, clips, a camera's path, a mask.
import { calm, choice, fill, h, range, say } from "./dom.js";
import { create, list, status } from "./api.js";
import { card, living } from "./cards.js";
import { active, begin as watched } from "./watch.js";
import { bring } from "./hand.js";
import { accepts } from "./media.js";
import { clear, draft, fields, save, scales, settle, shapes, sizeOf, styles, tasks, tasksFor } from "./draft.js";
import { director } from "./director.js";
import { cameraPanel } from "./camera.js";
import { pathsPanel } from "./paths.js";
import { maskPanel } from "./mask.js";
import { cutPanel } from "./cut.js";
import { captionLine, keyframeLine } from "./timeline.js";

const starters = [["a red ball bouncing on a beach at sunset", "dusk"], ["a white rocket takes off on the moon", "night"], ["a purple butterfly flies across a meadow in fog", "fog"]];
const rows = [["subject", "Things"], ["colour", "Colours"], ["place", "Places"], ["light", "Light"], ["camera", "Camera"]];
const any = (values) => values[Math.floor(Math.random() * values.length)];
const fresh = () => Math.floor(Math.random() * 1e6);
let open = ""; // the tool whose panel is open

export async function make(place, { leaving, query }) {
  const { words, models } = await status();
  for (const [from, to] of [["prompt", "prompt"], ["seed", "seed"], ["negative_prompt", "negative"]]) if (query.get(from)) draft[to] = query.get(from);
  if (!models.includes(draft.model)) draft.model = "";
  settle();
  const stop = [];
  leaving(() => stop.forEach((end) => end()));

  const prompt = h("textarea", { id: "prompt", name: "prompt", rows: 3, maxLength: 2000, placeholder: "A red ball bouncing on a beach at sunset", "aria-describedby": "hint",
    oninput: () => { draft.prompt = prompt.value; save(); typed(); } });
  prompt.value = draft.prompt;
  const set = (text) => { prompt.value = draft.prompt = text; save(); typed(); };
  let typed = () => {};
  const go = h("button", { class: "main", type: "submit" }, "Make it");
  const activeWall = h("div", { class: "wall" });
  const recent = h("div", { class: "wall" });
  const underway = h("section", { hidden: true, "aria-label": "Being made" }, h("h2", {}, "Being made"), activeWall);
  let welcome = null;

  const track = (video) => {
    underway.hidden = false;
    welcome?.remove();
    activeWall.prepend(living(video, { leaving, done: (now, element) => {
      element.remove();
      underway.hidden = !activeWall.children.length;
      if (now.status !== "completed") return;
      recent.prepend(card(now, { fresh: true }));
      lately.hidden = false;
    } }));
  };
  const start = async (event) => {
    event?.preventDefault();
    if (!prompt.value.trim()) { prompt.focus(); return say("Say what to show", true); }
    if (tasks[draft.task].mask && !draft.mask) return say("Paint the mask first", true);
    go.disabled = true;
    const seed = form.elements.seed.value.trim() || String(fresh());
    try {
      const whole = await suggestions.whole(prompt.value, seed);
      const video = await create(fields(whole, seed));
      watched(video);
      if (draft.two) {
        const other = await create(fields(whole, String(Number(seed) + 1)));
        watched(other);
        location.hash = `#/compare/${video.id}/${other.id}`;
        return undefined;
      }
      track(video);
      say("On its way. You can leave; it goes on.");
    } catch (error) {
      say(error.message, true);
      if (["steps", "guidance", "negative_prompt", "seed"].includes(error.param) && open !== "more" && error.param !== "seed") show("more");
      form.elements[error.param]?.focus?.();
    } finally { go.disabled = false; }
    return undefined;
  };

  // -- the line of simple choices
  const length = h("div", {});
  const shape = h("fieldset", {}, h("legend", {}, "Shape"), h("div", { class: "shapes" }, Object.entries(shapes).map(([name, [label]]) => {
    const radio = h("input", { type: "radio", name: "shape", value: name, "aria-label": label, checked: name === draft.shape, onchange: () => { draft.shape = name; save(); arrange(); } });
    return h("label", { class: name, title: label }, radio, h("i"));
  })));
  const seed = h("input", { name: "seed", inputMode: "numeric", placeholder: "any", maxLength: 19, oninput: () => { draft.seed = seed.value; save(); } });
  seed.value = draft.seed;

  // -- what is given, and what shall become of it
  const given = h("div", { class: "given" });
  const picker = h("input", { type: "file", accept: accepts, multiple: true, class: "skip", tabIndex: -1, "aria-label": "Pictures and clips to add", onchange: () => { bring(picker.files); picker.value = ""; } });

  const suggestions = director(() => prompt.value, () => seed.value.trim());
  typed = suggestions.changed;
  stop.push(suggestions.end);
  const panels = {
    director: ["Director", () => draft.direct, () => suggestions.panel],
    style: ["Style", () => draft.style, stylePanel],
    camera: ["Camera", () => draft.poses.length || Object.keys(draft.moves).length, () => cameraPanel(stop)],
    paths: ["Paths", () => draft.tracks.some((one) => one.length), () => pathsPanel(stop)],
    time: ["Over time", () => draft.captions.length, () => captionLine()],
    words: ["Words it knows", () => false, () => knownWords(words, (word) => { set(`${prompt.value.trimEnd()} ${word}`.trimStart()); })],
    more: ["More", () => draft.negative || draft.steps !== 30 || draft.guidance !== 1 || draft.motion !== 1, () => morePanel(models, arrange)],
  };
  const panel = h("div", { class: "panelbox", id: "panel" });
  const tools = h("div", { class: "tools-row", role: "group", "aria-label": "Tools" },
    h("button", { type: "button", class: "add", onclick: () => picker.click() }, "＋ Picture or clip"),
    Object.entries(panels).map(([name, [label]]) => h("button", { type: "button", "data-tool": name, "aria-expanded": "false", "aria-controls": "panel", onclick: () => show(open === name ? "" : name) }, label)), picker);
  const show = (name) => {
    open = name;
    for (const button of tools.querySelectorAll("[data-tool]")) button.setAttribute("aria-expanded", String(button.dataset.tool === name));
    panel.replaceChildren(...(name ? [panels[name][2]()].flat() : []));
    panel.hidden = !name;
  };
  const marks = () => { for (const button of tools.querySelectorAll("[data-tool]")) button.classList.toggle("set", Boolean(panels[button.dataset.tool][1]())); };
  const form = h("form", { class: "composer", onsubmit: start, onchange: marks, onclick: marks, onkeydown: (event) => { if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) start(event); } },
    given, h("label", { class: "skip", for: "prompt" }, "What to show"), prompt, tools, panel,
    h("div", { class: "under" }, h("div", { class: "controls" }, shape, length, h("label", { class: "field seed" }, h("span", {}, "Seed"), seed)),
      h("div", { class: "row" }, h("button", { type: "button", onclick: () => { set(invented(words)); prompt.focus(); } }, "Surprise me"), go)));

  const arrange = () => {
    const task = tasks[draft.task];
    given.replaceChildren(...material(arrange));
    given.hidden = !draft.given.length;
    length.replaceChildren(...(task.length ? [range(task.length, { min: task.most ? 0.5 : 0, max: 8, step: 0.5, value: draft.seconds, name: "seconds", says: (value) => (Number(value) === 0 ? "an image" : `${value} s`) },
      (value) => { draft.seconds = value; save(); for (const line of document.querySelectorAll(".line")) line.lasts?.(); })] : []));
    shape.hidden = !(task.mode === "generate" || draft.task === "circle" || draft.task === "around");
    shape.querySelectorAll("input").forEach((radio) => { radio.checked = radio.value === draft.shape; });
    if (draft.given.length && open === "paths") show("paths");
    marks();
  };

  const page = await list({ limit: 8, status: "completed" });
  const lately = h("section", { "aria-labelledby": "lately" }, h("h2", { id: "lately" }, "Lately"), recent);
  lately.hidden = !page.data.length;
  welcome = page.data.length ? null : h("section", { class: "welcome" }, h("h2", {}, "Begin with one of these"),
    h("div", { class: "starters" }, starters.map(([text, look]) => h("button", { type: "button", class: `look ${look}`, onclick: () => { set(text); start(); } }, h("span", {}, text)))),
    h("p", { class: "soft small" }, "It is made on this machine, and nothing leaves it. The small model paints places and light well; its things are soft."));
  fill(place, h("header", {}, h("h1", {}, "What shall appear in the sky?")),
    h("div", {}, form, h("p", { id: "hint", class: "soft small" }, "Ctrl+Enter makes it. Drop or paste a picture or a clip anywhere to begin with it. Every clip is marked and signed as made by a machine.")),
    underway, welcome, lately);
  recent.append(...page.data.map((video) => card(video)));
  active().forEach(track);
  arrange();
  show(panels[open] ? open : "");
  if (!calm() && matchMedia("(pointer: fine)").matches) prompt.focus({ preventScroll: true });
}

// The material, what may be done with it, and the tool that this needs.
function material(arrange) {
  const task = tasks[draft.task];
  const remove = (one) => { draft.given = draft.given.filter((other) => other !== one); draft.mask = ""; draft.keep = []; settle(); save(); arrange(); };
  const pieces = h("ul", { class: "pieces" }, draft.given.map((one, i) => h("li", {},
    one.thumb ? h("img", { src: one.thumb, alt: "" }) : h("span", { class: "stars" }), h("span", { class: "small" }, one.name),
    h("button", { type: "button", class: "x", "aria-label": `Leave out ${one.name}`, onclick: () => remove(one) }, "×"),
    draft.given.length === 2 && task.most === 2 && i === 0 && h("button", { type: "button", class: "swap", "aria-label": "Swap them", title: "Swap them", onclick: () => { draft.given.reverse(); save(); arrange(); } }, "⇄"))));
  const what = choice("What shall become of it", tasksFor(draft.given).map(([name, { label }]) => [name, label]), draft.task, (name) => { draft.task = name; save(); arrange(); });
  const anew = h("button", { type: "button", class: "quiet", onclick: () => { clear(); arrange(); document.getElementById("prompt").value = ""; } }, "Begin anew");
  const parts = [h("div", { class: "top" }, pieces, h("div", { class: "what" }, what, h("p", { class: "soft small" }, task.says ?? ""), anew))];
  if (!draft.given.length) return [];
  if (draft.task === "keyframes") parts.push(keyframeLine(remove));
  if (task.mask) parts.push(maskPanel());
  if (task.keep) parts.push(cutPanel());
  if (task.strength) parts.push(range("How far from it", { min: 0.05, max: 1, step: 0.05, value: draft.strength, name: "strength", says: (value) => `${Math.round(value * 100)} %` }, (value) => { draft.strength = value; save(); }));
  return parts;
}

function stylePanel() {
  const says = h("p", { class: "soft small", "aria-live": "polite" });
  const tell = () => {
    const one = styles[draft.style];
    says.textContent = one ? `Adds ${[one.words, one.camera && `the camera's ${one.camera}`, one.motion && `${one.motion} times the motion`].filter(Boolean).join(", ")}. Your own words and paths come first.`
      : "A look for the whole clip. One at a time.";
  };
  const buttons = Object.entries(styles).map(([name, { look }]) => h("button", { type: "button", class: `look ${look}`, "aria-pressed": String(draft.style === name), onclick: () => {
    draft.style = draft.style === name ? "" : name;
    buttons.forEach((button, i) => button.setAttribute("aria-pressed", String(Object.keys(styles)[i] === draft.style)));
    save();
    tell();
  } }, h("span", {}, name)));
  tell();
  return [h("div", { class: "looks", role: "group", "aria-label": "Styles" }, buttons), says];
}

const knownWords = (words, add) => h("div", { class: "words" }, rows.map(([kind, title]) => h("div", {}, h("p", {}, title),
  h("div", { class: "chips" }, words[kind].map((word) => h("button", { type: "button", onclick: () => add(word) }, word))))));

function morePanel(models, arrange) {
  const number = (label, name, options) => range(label, { ...options, name, value: draft[name] }, (value) => { draft[name] = value; save(); });
  const avoid = h("input", { name: "negative_prompt", maxLength: 2000, placeholder: "night", oninput: () => { draft.negative = avoid.value; save(); } });
  avoid.value = draft.negative;
  const model = h("select", { name: "model", onchange: () => { draft.model = model.value; save(); } }, models.map((name) => h("option", { value: name, selected: name === draft.model }, name)));
  const size = h("select", { name: "size", onchange: () => { draft.scale = Number(size.value); save(); arrange(); told.textContent = sizeOf().replace("x", " × "); } }, scales.map((label, i) => h("option", { value: String(i), selected: i === draft.scale }, label)));
  const told = h("b", {}, sizeOf().replace("x", " × "));
  const two = h("input", { type: "checkbox", checked: draft.two, onchange: () => { draft.two = two.checked; save(); } });
  const circle = !draft.given.length && h("label", { class: "row" }, h("input", { type: "checkbox", checked: draft.task === "circle", onchange: (event) => { draft.task = event.currentTarget.checked ? "circle" : "words"; save(); arrange(); } }), "Endless loop");
  return h("div", { class: "controls" },
    h("label", { class: "field" }, h("span", {}, "Size ", told), size),
    number("Steps", "steps", { min: 4, max: 100, step: 1 }), number("Guidance", "guidance", { min: 1, max: 10, step: 0.5 }),
    number("Motion", "motion", { min: 0, max: 3, step: 0.1, says: (value) => (Number(value) === 0 ? "none" : `× ${value}`) }),
    h("label", { class: "field wide" }, h("span", {}, "Avoid"), avoid), models.length > 1 && h("label", { class: "field" }, h("span", {}, "Model"), model),
    h("div", { class: "field" }, circle, h("label", { class: "row" }, two, "Two takes, to choose the better")));
}

function invented(words) {
  const thing = any(words.subject);
  const colour = any(words.colour);
  const article = /^[aeiou]/.test(colour) ? "an" : "a";
  return `${article} ${colour} ${thing} ${any(words.place)} ${any(words.light)}, ${any(words.camera)}`;
}
