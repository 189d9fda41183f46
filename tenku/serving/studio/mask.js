// A mask painted on the picture: white where it holds.
import { choice, clamp, colour, h, range } from "./dom.js";
import { draft, save } from "./draft.js";

const SIDE = 256, UNDO = 12; // pixels of its longer side; steps back

export function maskPanel() {
  const one = draft.given[0];
  const [w, t] = (one.size || "128x80").split("x").map(Number);
  const scale = SIDE / Math.max(w, t);
  const canvas = h("canvas", { width: Math.round(w * scale), height: Math.round(t * scale), tabIndex: 0, role: "application", "aria-label": "Mask. Arrow keys move the brush, Space paints, E erases, I turns it inside out" });
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  const ring = h("i", { class: "brush", hidden: true });
  const stage = h("div", { class: "mask-stage" }, one.thumb ? h("img", { src: one.thumb, alt: "" }) : h("div", { class: "stars" }), canvas, ring);
  stage.style.aspectRatio = `${w} / ${t}`;
  stage.style.maxWidth = `${(26 * w) / t}rem`;
  let size = 36, erase = false, at = [canvas.width / 2, canvas.height / 2], down = false;
  const past = [];
  const told = h("span", { class: "soft small", "aria-live": "polite" });
  const paint = (from, to) => {
    pen.globalCompositeOperation = erase ? "destination-out" : "source-over";
    pen.strokeStyle = colour("--mask");
    Object.assign(pen, { lineCap: "round", lineJoin: "round", lineWidth: size });
    pen.beginPath();
    pen.moveTo(...from);
    pen.lineTo(to[0] + 0.01, to[1]);
    pen.stroke();
  };
  // Kept as a black and white picture; counts how much of it is white.
  const done = () => {
    const { width, height } = canvas;
    const pixels = pen.getImageData(0, 0, width, height);
    let white = 0;
    for (let i = 0; i < pixels.data.length; i += 4) {
      const on = pixels.data[i + 3] > 127;
      white += on;
      pixels.data.set(on ? [255, 255, 255, 255] : [0, 0, 0, 255], i);
    }
    const out = h("canvas", { width, height });
    out.getContext("2d").putImageData(pixels, 0, 0);
    draft.mask = white ? out.toDataURL("image/png") : "";
    told.textContent = `${Math.round((100 * white) / (width * height))} % is painted`;
    save();
  };
  const remember = () => { past.push(pen.getImageData(0, 0, canvas.width, canvas.height)); if (past.length > UNDO) past.shift(); };
  const show = () => {
    ring.hidden = false;
    ring.style.left = `${(100 * at[0]) / canvas.width}%`;
    ring.style.top = `${(100 * at[1]) / canvas.height}%`;
    ring.style.width = `${(100 * size) / canvas.width}%`;
  };
  const here = (event) => {
    const box = canvas.getBoundingClientRect();
    return [((event.clientX - box.left) / box.width) * canvas.width, ((event.clientY - box.top) / box.height) * canvas.height];
  };
  canvas.addEventListener("pointerdown", (event) => { canvas.setPointerCapture(event.pointerId); remember(); down = true; at = here(event); paint(at, at); });
  canvas.addEventListener("pointermove", (event) => {
    const to = here(event);
    if (down) for (const part of event.getCoalescedEvents?.() ?? [event]) { const next = here(part); paint(at, next); at = next; }
    at = to;
    show();
  });
  canvas.addEventListener("lostpointercapture", () => { down = false; done(); });
  canvas.addEventListener("pointerleave", () => { ring.hidden = document.activeElement !== canvas; });
  canvas.addEventListener("focus", show);
  canvas.addEventListener("blur", () => { ring.hidden = true; });
  canvas.addEventListener("keydown", (event) => {
    const far = event.shiftKey ? 24 : 8;
    const by = { ArrowLeft: [-far, 0], ArrowRight: [far, 0], ArrowUp: [0, -far], ArrowDown: [0, far] }[event.key];
    if (by) {
      const to = [clamp(at[0] + by[0], 0, canvas.width), clamp(at[1] + by[1], 0, canvas.height)];
      at = to;
      show();
    } else if (event.key === " " || event.key === "Enter" && !event.ctrlKey) { remember(); paint(at, at); done(); } else if (event.key === "e") ways.querySelectorAll("button")[erase ? 0 : 1].click();
    else if (event.key === "i") turned();
    else return;
    event.preventDefault();
    event.stopPropagation();
  });
  const turned = () => {
    remember();
    pen.globalCompositeOperation = "xor";
    pen.fillStyle = colour("--mask");
    pen.fillRect(0, 0, canvas.width, canvas.height);
    done();
  };
  const clear = () => { remember(); pen.clearRect(0, 0, canvas.width, canvas.height); done(); };
  const back = () => { const last = past.pop(); if (last) { pen.putImageData(last, 0, 0); done(); } };
  const ways = choice("Brush", [[false, "Paint"], [true, "Erase"]], false, (value) => { erase = value; });
  if (draft.mask) { // as it was left: white becomes the colour of the mask, black nothing
    const image = h("img", { src: draft.mask });
    image.decode().then(() => {
      pen.drawImage(image, 0, 0, canvas.width, canvas.height);
      const pixels = pen.getImageData(0, 0, canvas.width, canvas.height);
      for (let i = 0; i < pixels.data.length; i += 4) pixels.data[i + 3] = pixels.data[i];
      pen.putImageData(pixels, 0, 0);
      pen.globalCompositeOperation = "source-in";
      pen.fillStyle = colour("--mask");
      pen.fillRect(0, 0, canvas.width, canvas.height);
      done();
    }).catch(() => {});
  }
  const button = (label, work) => h("button", { type: "button", class: "quiet", onclick: work }, label);
  return h("div", { class: "camera" }, stage, h("div", { class: "beside" }, ways, range("Brush size", { min: 6, max: 96, step: 2, value: size }, (value) => { size = value; show(); }),
    h("div", { class: "row" }, button("Invert", turned), button("Clear", clear), button("Undo", back)), told));
}
