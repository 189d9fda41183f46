// A storyboard: shots in a row, what each shows and how it begins; made into a film, or taken along as YAML.
import { fill, h, icon, keep, kept, range, say, tried } from "./dom.js";
import { film as make, video as fetchVideo } from "./api.js";
import { card, living } from "./cards.js";
import { begin as watched } from "./watch.js";
import { DRAGGED, takes } from "./hand.js";
import { brought, own } from "./media.js";
import { choose } from "./choose.js";

const sizes = [["128x80", "Wide"], ["80x128", "Tall"], ["96x96", "Square"]];
const moves = ["", "static", "dolly in 1", "dolly out 1", "pan left 20", "pan right 20", "orbit left 30", "orbit right 30", "crane up 1", "tilt up 10", "truck left 1", "truck right 1"];
const ways = [["cut", "Cut"], ["dissolve", "Dissolve"], ["dream", "Dreamt way"]];
const shot = (fields = {}) => ({ prompt: "", seconds: 3, camera: "", transition: "cut", lasts: 0.5, text: "", continues: false, keyframes: [], ...fields });
const blank = () => ({ title: "", style: "", size: "128x80", seed: 7, steps: 30, negative: "", cast: [], shots: [shot()], made: "" });
const example = () => ({ ...blank(), title: "The red ball", style: "at sunset", cast: [{ name: "hero", looks: "a large red ball" }], shots: [
  shot({ prompt: "{hero} rests on a beach", camera: "dolly in 1", text: "One evening" }),
  shot({ prompt: "{hero} moves right on a beach", transition: "dissolve" }),
  shot({ prompt: "{hero} bounces in the snow", transition: "dream", lasts: 1 })] });

const board = { ...blank(), ...kept("board", {}) };
const save = () => keep("board", board);
const filled = () => board.shots.some((one) => one.prompt.trim()) || board.title;

// A board of clips that were picked: their words, in the order of picking.
export function begin(videos) {
  Object.assign(board, blank(), { size: videos[0].size, shots: videos.map((video, i) => shot({ prompt: video.prompt, seconds: Math.min(10, Math.max(1, Number(video.seconds) || 2)), transition: i ? "dissolve" : "cut", camera: typeof video.tenku.camera === "string" ? video.tenku.camera ?? "" : "" })) });
  save();
}

// The storyboard as docs/film.md has it: only what differs from the default.
export function storyboard() {
  const some = (fields) => Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== "" && value !== undefined && value !== false && value.length !== 0));
  const cast = Object.fromEntries(board.cast.filter((one) => one.name.trim()).map((one) => [one.name.trim(), one.looks.trim()]));
  return { ...some({ title: board.title.trim(), style: board.style.trim() }), size: board.size, seed: board.seed, steps: board.steps, ...some({ negative: board.negative.trim() }),
    ...(Object.keys(cast).length ? { cast } : {}), shots: board.shots.map((one, i) => ({ prompt: one.prompt.trim(), seconds: one.seconds, ...some({ camera: one.camera.trim(),
      transition: i > 0 && one.transition !== "cut" && `${one.transition} ${one.lasts}`, text: one.text.trim(), continues: i > 0 && one.continues && !one.keyframes.length,
      keyframes: one.keyframes.map((key) => `${key.source}@${key.at}`) }) })) };
}

// YAML of plain values; text is quoted as JSON quotes it, which YAML reads.
export function yaml(value, indent = "") {
  if (Array.isArray(value)) return value.map((item) => `\n${indent}- ${typeof item === "object" ? yaml(item, `${indent}  `).trimStart() : JSON.stringify(item)}`).join("");
  if (value && typeof value === "object") return Object.entries(value).map(([name, item]) => `\n${indent}${/^\w+$/.test(name) ? name : JSON.stringify(name)}:${item && typeof item === "object" ? yaml(item, `${indent}  `) : ` ${JSON.stringify(item)}`}`).join("");
  return JSON.stringify(value);
}

export async function film(place, { leaving }) {
  const input = (label, get, set, options = {}) => {
    const field = h(options.rows ? "textarea" : "input", { maxLength: 2000, ...options, "aria-label": options.label ?? label, oninput: () => { set(field.value); save(); strip(); } });
    field.value = get();
    return h("label", { class: `field ${options.wide ? "grow" : ""}` }, h("span", {}, label), field);
  };
  const pick = (label, options, get, set) => h("label", { class: "field" }, h("span", {}, label), h("select", { onchange: (event) => { set(event.currentTarget.value); save(); strip(); draw(); } },
    options.map(([value, words]) => h("option", { value, selected: value === get() }, words))));
  const shots = h("ol", { class: "shots" });
  const ribbon = h("div", { class: "ribbon", "aria-hidden": "true" });
  const length = h("p", { class: "soft small", "aria-live": "polite" });
  const cast = h("div", { class: "cast" });
  let focused = 0;

  const strip = () => {
    const overlap = board.shots.reduce((sum, one, i) => sum + (i && one.transition === "dissolve" ? -one.lasts : i && one.transition === "dream" ? one.lasts : 0), 0);
    const whole = board.shots.reduce((sum, one) => sum + one.seconds, 0) + overlap + (board.title.trim() ? 2 : 0);
    length.textContent = `${board.shots.length} ${board.shots.length === 1 ? "shot" : "shots"}, about ${whole.toFixed(1)} seconds`;
    ribbon.replaceChildren(...board.shots.map((one, i) => { const piece = h("i", { class: i ? one.transition : "" }, String(i + 1)); piece.style.flexGrow = String(one.seconds); return piece; }));
  };
  const move = (from, to) => {
    if (to < 0 || to >= board.shots.length) return;
    board.shots.splice(to, 0, ...board.shots.splice(from, 1));
    save();
    draw();
    shots.children[to].querySelector(from > to ? ".up" : ".down").focus();
  };
  const addKey = (one, piece) => { one.keyframes.push({ ...piece, at: 0 }); one.continues = false; save(); draw(); };

  const shotCard = (one, i) => {
    const line = input(`Shot ${i + 1}: what it shows`, () => one.prompt, (value) => { one.prompt = value; }, { rows: 2, label: `Shot ${i + 1}: what it shows`, wide: true, placeholder: i ? "{hero} bounces in the snow" : "a large red ball rests on a beach" });
    const names = board.cast.filter((who) => who.name.trim());
    const element = h("li", { class: "shot", draggable: false }, h("div", { class: "row between" }, h("span", { class: "number" }, String(i + 1)),
      h("div", { class: "row tight" },
        h("button", { type: "button", class: "x up", "aria-label": `Move shot ${i + 1} earlier`, disabled: i === 0, onclick: () => move(i, i - 1) }, "↑"),
        h("button", { type: "button", class: "x down", "aria-label": `Move shot ${i + 1} later`, disabled: i === board.shots.length - 1, onclick: () => move(i, i + 1) }, "↓"),
        h("button", { type: "button", class: "x", "aria-label": `Copy shot ${i + 1}`, title: "Copy it", onclick: () => { board.shots.splice(i + 1, 0, structuredClone(one)); save(); draw(); } }, icon("copy")),
        h("button", { type: "button", class: "x", "aria-label": `Remove shot ${i + 1}`, disabled: board.shots.length === 1, onclick: () => { board.shots.splice(i, 1); save(); draw(); } }, "×"))),
    line, names.length > 0 && h("div", { class: "chips", role: "group", "aria-label": "Who appears" }, names.map((who) => h("button", { type: "button", onclick: () => { const field = line.querySelector("textarea"); one.prompt = `${field.value.trimEnd()} {${who.name.trim()}}`.trimStart(); field.value = one.prompt; save(); field.focus(); } }, `{${who.name.trim()}}`))),
    h("div", { class: "controls" },
      range("Length", { min: 0.5, max: 10, step: 0.5, value: one.seconds, says: (value) => `${value} s` }, (value) => { one.seconds = value; save(); strip(); }),
      input("Camera", () => one.camera, (value) => { one.camera = value; }, { placeholder: "as the words say", list: "moves" }),
      i > 0 && pick("Begins with", ways, () => one.transition, (value) => { one.transition = value; one.lasts = value === "dream" ? 1 : 0.5; }),
      i > 0 && one.transition !== "cut" && range("It lasts", { min: 0.1, max: 5, step: 0.1, value: one.lasts, says: (value) => `${value} s` }, (value) => { one.lasts = value; save(); strip(); }),
      input("Words in the picture", () => one.text, (value) => { one.text = value; }, { maxLength: 200, placeholder: "One evening" })),
    h("div", { class: "row" }, one.keyframes.map((key, k) => h("span", { class: "key" }, key.thumb ? h("img", { src: key.thumb, alt: key.name }) : h("span", { class: "stars" }),
      h("input", { type: "number", min: "0", max: "10", step: "0.1", value: String(key.at), "aria-label": `Seconds of keyframe ${k + 1}`, onchange: (event) => { key.at = Math.max(0, Number(event.currentTarget.value) || 0); save(); } }),
      h("button", { type: "button", class: "x", "aria-label": `Leave out keyframe ${k + 1}`, onclick: () => { one.keyframes.splice(k, 1); save(); draw(); } }, "×"))),
    h("button", { type: "button", class: "quiet", onclick: tried(async () => { focused = i; const video = await choose(`A picture for shot ${i + 1}`); if (video) addKey(one, own(video)); }) }, "＋ Reference"),
    i > 0 && !one.keyframes.length && h("label", { class: "row small" }, h("input", { type: "checkbox", checked: one.continues, onchange: (event) => { one.continues = event.currentTarget.checked; save(); } }), "Goes on from the shot before")));
    element.addEventListener("focusin", () => { focused = i; });
    element.addEventListener("dragover", (event) => { event.preventDefault(); element.classList.add("over"); });
    element.addEventListener("dragleave", () => element.classList.remove("over"));
    element.addEventListener("drop", (event) => {
      event.preventDefault();
      element.classList.remove("over");
      const video = event.dataTransfer.getData(DRAGGED);
      if (video) addKey(one, own(JSON.parse(video)));
      else if (event.dataTransfer.files[0]) { event.stopPropagation(); document.getElementById("veil").hidden = true; focused = i; taken([...event.dataTransfer.files]); }
    });
    return element;
  };
  const taken = tried(async (files) => { say("Taking it …"); addKey(board.shots[focused] ?? board.shots[0], await brought(files[0])); say(`It stands in shot ${focused + 1}`); });
  leaving(takes(taken));

  const drawCast = () => cast.replaceChildren(...board.cast.map((who, i) => h("div", { class: "row" },
    input("Name", () => who.name, (value) => { who.name = value.replace(/\W/g, ""); }, { maxLength: 40, placeholder: "hero" }), input("Looks like", () => who.looks, (value) => { who.looks = value; }, { placeholder: "a large red ball", wide: true }),
    h("button", { type: "button", class: "x", "aria-label": `Remove ${who.name || "this one"} from the cast`, onclick: () => { board.cast.splice(i, 1); save(); drawCast(); draw(); } }, "×"))),
  h("button", { type: "button", class: "quiet", onclick: () => { board.cast.push({ name: "", looks: "" }); save(); drawCast(); cast.querySelector(".row:last-of-type input")?.focus(); } }, "＋ Somebody who appears"));
  const draw = () => { shots.replaceChildren(...board.shots.map(shotCard)); strip(); };

  const result = h("div", { class: "wall large" });
  const track = (video) => result.replaceChildren(living(video, { leaving, done: (now, element) => { if (now.status === "completed") { element.replaceWith(card(now, { fresh: true })); } else { element.remove(); say(now.error?.message ?? "It failed", true); } } }));
  const start = tried(async () => {
    const empty = board.shots.findIndex((one) => !one.prompt.trim());
    if (empty >= 0) { shots.children[empty].querySelector("textarea").focus(); say(`Say what shot ${empty + 1} shows`, true); return; }
    go.disabled = true;
    try {
      let video;
      try { video = await make({ storyboard: storyboard(), ...(board.made ? { parent: board.made } : {}) }); } catch (error) {
        if (error.status !== 404 || !board.made) throw error;
        video = await make({ storyboard: storyboard() }); // what was made before is deleted
      }
      board.made = video.id;
      save();
      watched(video);
      track(video);
      result.scrollIntoView({ block: "nearest" });
      say("The film is on its way. Unchanged shots are kept the next time.");
    } catch (error) {
      const said = error.message.match(/shots\[(\d+)\]/) ?? error.message.match(/shot (\d+)/);
      if (said) shots.children[Number(said[1]) - 1]?.querySelector("textarea")?.focus();
      throw error;
    } finally { go.disabled = false; }
  });
  const go = h("button", { type: "button", class: "main", onclick: start }, "Make the film");
  const exported = () => {
    const link = h("a", { href: URL.createObjectURL(new Blob([`${yaml(storyboard()).trimStart()}\n`], { type: "application/yaml" })), download: `${board.title.trim().replace(/[^\w-]+/g, "-").toLowerCase() || "film"}.yaml` });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  };
  const anew = (next) => { Object.assign(board, next); save(); place.replaceChildren(); film(place, { leaving }); };
  let sure = false;
  fill(place, h("datalist", { id: "moves" }, moves.filter(Boolean).map((move) => h("option", { value: move }))),
    h("header", {}, h("h1", {}, "A film, shot by shot"), h("p", { class: "soft" }, "Who appears is said once and looks the same in every shot. Drop a picture or a clip on a shot, and it stands in it.")),
    !filled() && h("div", { class: "row" }, h("button", { type: "button", onclick: () => anew(example()) }, "Begin with an example")),
    h("section", { class: "panel" }, h("div", { class: "controls" },
      input("Title", () => board.title, (value) => { board.title = value; }, { maxLength: 200, placeholder: "none" }), input("Look of all shots", () => board.style, (value) => { board.style = value; }, { maxLength: 200, placeholder: "at sunset" }),
      pick("Shape", sizes.some(([size]) => size === board.size) ? sizes : [...sizes, [board.size, board.size]], () => board.size, (value) => { board.size = value; }),
      range("Steps", { min: 4, max: 100, step: 1, value: board.steps, name: "steps" }, (value) => { board.steps = value; save(); }),
      input("Seed", () => board.seed, (value) => { board.seed = Number(value) || 0; }, { inputMode: "numeric", maxLength: 15 })), h("h2", { class: "minor" }, "Cast"), cast),
    h("section", { "aria-label": "Shots" }, ribbon, shots, h("div", { class: "row between" }, h("button", { type: "button", onclick: () => { board.shots.push(shot({ transition: "dissolve" })); save(); draw(); shots.lastChild.querySelector("textarea").focus(); } }, "＋ Shot"), length)),
    h("div", { class: "row" }, go, h("button", { type: "button", onclick: exported }, "Export YAML"),
      h("button", { type: "button", class: "quiet", onclick: (event) => { if (!sure && filled()) { sure = true; event.currentTarget.textContent = "Forget this storyboard?"; return; } anew(blank()); } }, "Begin anew")), result);
  drawCast();
  draw();
  if (board.made) {
    const video = await fetchVideo(board.made).catch(() => null);
    if (video && video.status !== "completed" && video.status !== "failed") track(video);
    else if (video?.status === "completed") result.replaceChildren(card(video));
    else if (!video) { board.made = ""; save(); }
  }
}
