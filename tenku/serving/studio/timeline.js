// Lines of time: keyframes that stand at their seconds, and words that come in from a second on.
import { clamp, h, handle, range, rounded } from "./dom.js";
import { draft, save, span } from "./draft.js";

const ruler = (whole) => h("div", { class: "ruler", "aria-hidden": "true" }, Array.from({ length: Math.floor(whole) + 1 }, (_, i) => {
  const mark = h("span", {}, `${i} s`);
  mark.style.left = `${(100 * i) / whole}%`;
  return mark;
}));

// One line: `pieces()` -> [{ label, get, set, remove, children }], with what is chosen shown below it by `detail(i)`.
function line({ name, pieces, detail, add }) {
  const lane = h("div", { class: "lane" });
  const below = h("div", { class: "detail" });
  const box = h("div", { class: "line", role: "group", "aria-label": name });
  let chosen = 0;
  const choose = (i) => {
    chosen = i;
    lane.querySelectorAll(".handle").forEach((one, at) => one.classList.toggle("chosen", at === i));
    below.replaceChildren(...(pieces()[i] ? [detail(i)].flat() : []));
  };
  box.draw = (at = chosen) => {
    const whole = span();
    const handles = pieces().map((piece, i) => {
      const one = handle({ ...piece, line: lane, max: () => span(), done: () => { save(); piece.done?.(); } }, piece.children);
      one.addEventListener("focus", () => choose(i));
      one.show(whole);
      return one;
    });
    lane.replaceChildren(...handles);
    box.replaceChildren(ruler(whole), lane, below, ...(add ? [add] : []));
    choose(clamp(at, 0, Math.max(0, handles.length - 1)));
    return handles[chosen];
  };
  box.lasts = () => { pieces().forEach((piece) => piece.set(Math.min(piece.get(), span()))); box.draw(); };
  lane.addEventListener("dblclick", (event) => {
    if (!add || event.target !== lane) return;
    const at = (event.offsetX / lane.clientWidth) * span();
    add.at?.(rounded(at, 0.1));
  });
  return box;
}

export function keyframeLine(remove) {
  const box = line({
    name: "Keyframes in time",
    pieces: () => draft.given.map((one, i) => ({
      label: `Keyframe ${i + 1}, ${one.name}`, get: () => one.at, set: (at) => { one.at = at; }, kind: "pictured", remove: () => remove(one),
      children: [one.thumb ? h("img", { src: one.thumb, alt: "" }) : h("span", {}, String(i + 1))],
    })),
    detail: (i) => {
      const one = draft.given[i];
      return [h("p", { class: "small" }, h("b", {}, `${i + 1}. `), one.name, h("span", { class: "soft" }, " · drag it, or the arrow keys; Delete leaves it out")),
        range("How firmly it is held", { min: 0.05, max: 1, step: 0.05, value: one.strength, says: (value) => `${Math.round(value * 100)} %` }, (value) => { one.strength = value; save(); })];
    },
  });
  box.draw();
  return box;
}

export function captionLine() {
  const add = h("button", { type: "button", class: "quiet", onclick: () => add.at() }, "＋ Other words from a time on");
  const box = line({
    name: "Words over time", add,
    pieces: () => draft.captions.map((pair, i) => ({
      label: `Words ${i + 1}`, get: () => pair[0], set: (at) => { pair[0] = at; }, min: () => 0.1, kind: "flag", remove: () => { draft.captions.splice(i, 1); save(); box.draw(); },
      children: [h("span", {}, String(i + 1))],
    })),
    detail: (i) => {
      const said = h("input", { maxLength: 2000, placeholder: "a red ball rests in the snow", oninput: () => { draft.captions[i][1] = said.value; save(); } });
      said.value = draft.captions[i][1];
      return [h("label", { class: "field grow" }, h("span", {}, `From there on (${i + 1})`), said),
        h("button", { type: "button", class: "quiet", onclick: () => { draft.captions.splice(i, 1); save(); box.draw(); } }, "Leave out")];
    },
  });
  add.at = (at) => {
    draft.captions.push([at ?? rounded(span() / 2, 0.1), ""]);
    save();
    box.draw(draft.captions.length - 1);
    box.querySelector("input")?.focus();
  };
  box.draw();
  return [h("p", { class: "soft small" }, "The prompt holds from the beginning; other words fade in at their time."), box];
}
