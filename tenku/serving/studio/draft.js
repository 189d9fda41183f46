// What is being composed. It stays when one goes to another page, and when one comes back tomorrow.
import { keep, kept, rounded } from "./dom.js";

const MOST = 16; // pieces of material, as the server's
export const shapes = { wide: ["Wide", "64x48", "128x80", "192x128"], tall: ["Tall", "48x64", "80x128", "128x192"], square: ["Square", "64x64", "96x96", "144x144"] };
export const scales = ["Small, soon there", "Usual", "Large, slow"];

// task -> label, mode, way, how many pieces of material it takes, and which of length and strength it has
export const tasks = {
  words: { label: "From words", mode: "generate", way: "", least: 0, most: 0, length: "Length" },
  circle: { label: "Endless loop", mode: "loop", way: "", least: 0, most: 0, length: "Length", says: "A clip without a seam: its end is its beginning." },
  keyframes: { label: "Keyframes", mode: "generate", way: "", least: 1, most: MOST, length: "Length", says: "What is given stands firm at its time; all between is dreamt." },
  after: { label: "Go on after it", mode: "extend", way: "forwards", least: 1, most: 1, moving: true, length: "Longer by", says: "The clip goes on where it ends." },
  before: { label: "What was before", mode: "extend", way: "backwards", least: 1, most: 1, moving: true, length: "Longer by", says: "The clip begins earlier." },
  loop: { label: "Close the loop", mode: "loop", way: "", least: 1, most: 1, moving: true, length: "Way back", says: "A way from its end back to its beginning is dreamt." },
  edit: { label: "Change all of it", mode: "edit", way: "", least: 1, most: 1, strength: true, says: "The same, nearer to your words." },
  inside: { label: "Change a part", mode: "edit", way: "inside", least: 1, most: 1, mask: true, strength: true, says: "Paint what is to be changed." },
  outside: { label: "Keep a part", mode: "edit", way: "outside", least: 1, most: 1, mask: true, strength: true, says: "Paint what is to stay; all around it is changed." },
  around: { label: "See more around", mode: "edit", way: "around", least: 1, most: 1, says: "The picture goes on beyond its frame. Choose another shape." },
  cut: { label: "Re-cut", mode: "edit", way: "", least: 1, most: 1, moving: true, keep: true, strength: true, says: "Choose what is kept; the gaps are dreamt again." },
  transition: { label: "One becomes the other", mode: "blend", way: "transition", least: 2, most: 2, length: "Way between", says: "First one clip, then a dreamt way, then the other." },
  morph: { label: "Both at once", mode: "blend", way: "morph", least: 2, most: 2, length: "Way between", strength: true, says: "A clip in which both are, growing from one into the other." },
};
export const tasksFor = (given) => Object.entries(tasks).filter(([, task]) =>
  given.length >= task.least && given.length <= task.most && (!task.moving || given[0].kind === "video"));

export const styles = {
  "Golden hour": { words: "at sunset", camera: "dolly in 1", look: "dusk" },
  "Moonlit": { words: "at night", camera: "", look: "night" },
  "Morning mist": { words: "in fog", camera: "", motion: 0.7, look: "fog" },
  "Broad day": { words: "by day", camera: "", look: "day" },
  "Still life": { words: "", camera: "static", motion: 0.4, look: "still" },
  "All around": { words: "", camera: "orbit left 30", look: "orbit" },
  "Lift-off": { words: "", camera: "crane up 1.5", look: "rise" },
  "Rush": { words: "", camera: "dolly in 1.5", motion: 1.6, look: "rush" },
};

const blank = () => ({ prompt: "", negative: "", shape: "wide", scale: 1, seconds: 2, steps: 30, guidance: 1, motion: 1, strength: 0.9, seed: "",
  model: "", task: "words", given: [], keep: [], captions: [], moves: {}, poses: [], tracks: [], mask: "", style: "", direct: false, dropped: [], turn: 0, two: false });
export const draft = { ...blank(), ...kept("draft", {}) };
let wait;
export function save() {
  clearTimeout(wait);
  wait = setTimeout(() => keep("draft", draft), 300);
}
export function clear() {
  Object.assign(draft, blank());
  clearTimeout(wait);
  keep("draft", null);
}

// Adds material and takes the task that fits it best, unless one is asked for.
export function give(pieces, task = "") {
  const many = [...draft.given, ...pieces].slice(0, MOST);
  const before = draft.given.length;
  draft.given = many;
  draft.mask = "";
  draft.keep = [];
  const fitting = tasksFor(many).map(([name]) => name);
  if (task && fitting.includes(task)) draft.task = task;
  else if (!fitting.includes(draft.task) || !before) draft.task = many.length === 1 && many[0].kind === "video" ? "after" : many.length === 2 && many.every((one) => one.kind === "video") ? "transition" : "keyframes";
  if (draft.task === "keyframes") many.forEach((one, i) => { if (i >= before && i) one.at = rounded(Math.min(draft.seconds, (draft.seconds * i) / Math.max(1, many.length - 1)), 0.05); });
  const sized = many[0]?.size.split("x").map(Number);
  if (sized?.[0]) draft.shape = sized[0] > sized[1] * 1.15 ? "wide" : sized[1] > sized[0] * 1.15 ? "tall" : "square";
  save();
}
export function begin(pieces, task, prompt) {
  Object.assign(draft, { given: [], keep: [], mask: "", captions: [], tracks: [], task: "words" });
  if (prompt) draft.prompt = prompt;
  give(pieces, task);
}
export function settle() {
  draft.given = draft.given.slice(0, MOST);
  const fitting = tasksFor(draft.given).map(([name]) => name);
  if (!fitting.includes(draft.task)) [draft.task] = fitting;
  if (!shapes[draft.shape]) draft.shape = "wide";
}

export const sizeOf = () => shapes[draft.shape][1 + draft.scale];
// seconds that the line of time shows
export const span = () => (["edit", "inside", "outside", "around", "cut"].includes(draft.task) ? draft.given[0]?.seconds || 2 : draft.seconds || 2);

export const camera = () => (draft.poses.length ? draft.poses
  : Object.entries(draft.moves).map(([move, by]) => (move === "static" ? move : `${move} ${by}`)).join(", ") || styles[draft.style]?.camera || "");

// The prompt with the words of the style; `whole` is it or what the director made of it.
export const styled = (whole) => {
  const words = styles[draft.style]?.words;
  return words && !whole.toLowerCase().includes(words) ? `${whole.trim().replace(/[.\s]+$/, "")} ${words}` : whole.trim();
};

// The call's fields. Only what differs from the default is sent, so that what is sent says what was meant.
export function fields(prompt, seed) {
  const task = tasks[draft.task];
  const motion = draft.motion !== 1 ? draft.motion : styles[draft.style]?.motion ?? 1;
  const sized = task.mode === "generate" || draft.task === "circle" || draft.task === "around";
  const all = { prompt: styled(prompt), seed, steps: draft.steps, guidance: draft.guidance, negative_prompt: draft.negative.trim(), model: draft.model,
    size: sized && sizeOf(), seconds: task.length && String(draft.seconds), mode: task.mode !== "generate" && task.mode, way: task.way,
    inputs: draft.given.map(({ source, at, strength }) => (draft.task === "keyframes" ? { source, at, strength } : { source })),
    mask: task.mask && draft.mask, keep: task.keep && draft.keep, strength: task.strength && draft.strength,
    captions: draft.captions.filter(([, said]) => said.trim()).sort((a, b) => a[0] - b[0]), camera: camera(), tracks: draft.tracks.filter((track) => track.length), motion: motion !== 1 && motion };
  return Object.fromEntries(Object.entries(all).filter(([, value]) => value === 0 || (value && value.length !== 0)));
}
