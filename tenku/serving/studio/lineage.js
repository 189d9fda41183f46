// What a clip was made from, and what was made from it: a small graph from left to right.
import { h, svg } from "./dom.js";
import { content, list, video as fetchVideo } from "./api.js";

const UP = 4, DOWN = 2, MOST = 24, BESIDE = 8; // generations back and on, clips of one, others that went in with it
const parents = (video) => video.tenku.made_from ?? (video.remixed_from_video_id ? [video.remixed_from_video_id] : []);
const verbs = { extend: "longer", blend: "blended", loop: "looped", edit: "changed", generate: "remixed" };

const how = (one) => (one.tenku.film ? "film" : one.tenku.mode === "generate" && one.tenku.inputs?.length ? "from pictures" : parents(one).length || one.tenku.inputs?.length ? verbs[one.tenku.mode ?? "generate"] : "from words");

async function found(video) {
  const known = new Map([[video.id, { video, depth: 0 }]]);
  let row = [video];
  for (let depth = -1; depth >= -UP && row.length; depth -= 1) {
    const ids = [...new Set(row.flatMap(parents))].filter((id) => !known.has(id)).slice(0, MOST);
    row = (await Promise.all(ids.map((id) => fetchVideo(id).catch(() => null)))).filter(Boolean);
    row.forEach((one) => known.set(one.id, { video: one, depth }));
  }
  row = [video];
  for (let depth = 1; depth <= DOWN && row.length; depth += 1) {
    const pages = await Promise.all(row.slice(0, 6).map((one) => list({ parent: one.id, limit: depth === 1 ? MOST : 6 }).catch(() => ({ data: [] }))));
    row = [...new Map(pages.flatMap((page) => page.data).filter((one) => !known.has(one.id)).map((one) => [one.id, one])).values()];
    row.forEach((one) => known.set(one.id, { video: one, depth }));
  }
  const beside = [...known.values()].filter((one) => one.depth > 0).flatMap(({ video: one, depth }) => parents(one).filter((id) => !known.has(id)).map((id) => [id, depth - 1]));
  for (const [id, depth] of beside.slice(0, BESIDE)) { // what else went into what was made from it
    const one = await fetchVideo(id).catch(() => null);
    if (one) known.set(id, { video: one, depth });
  }
  return known;
}

export async function lineage(place, video, leaving) {
  const known = await found(video);
  if (known.size < 2 || !place.isConnected) return;
  const titles = { "-1": "Made from", 0: "This clip", 1: "Made from this" };
  const nodes = new Map();
  const columns = [...new Set([...known.values()].map((one) => one.depth))].sort((a, b) => a - b).map((depth) =>
    h("section", {}, h("h3", {}, (depth === 0 && [...known.values()].filter((one) => one.depth === 0).length > 1 ? "This clip, and others beside it" : titles[depth]) ?? (depth < 0 ? "Before that" : "After that")), h("ul", {}, [...known.values()].filter((one) => one.depth === depth).map(({ video: one }) => {
      const node = h("li", { class: `kin${one.id === video.id ? " self" : ""}` },
        h("a", { href: `#/clip/${one.id}`, ...(one.id === video.id ? { "aria-current": "true" } : {}) },
          one.status === "completed" ? h("img", { src: content(one.id, "thumbnail"), alt: "", loading: "lazy" }) : h("span", { class: "stars" }),
          h("span", { class: "said" }, one.prompt), h("span", { class: "soft" }, how(one))),
        one.id !== video.id && one.status === "completed" && h("a", { class: "small", href: `#/compare/${video.id}/${one.id}`, "aria-label": `Compare with ${one.prompt}` }, "Compare"));
      nodes.set(one.id, node);
      return node;
    }))));
  const lines = svg("svg", { "aria-hidden": "true" });
  const graph = h("div", { class: "lineage" }, lines, columns);
  const draw = () => {
    const base = graph.getBoundingClientRect();
    lines.setAttribute("width", graph.scrollWidth);
    lines.setAttribute("height", graph.scrollHeight);
    lines.replaceChildren(...[...known.values()].flatMap(({ video: one }) => parents(one).filter((id) => nodes.has(id)).map((id) => {
      const [from, to] = [nodes.get(id), nodes.get(one.id)].map((node) => node.getBoundingClientRect());
      const [x0, y0, x1, y1] = [from.right, from.top + from.height / 2, to.left, to.top + to.height / 2].map((value, i) => value - (i % 2 ? base.top : base.left - graph.scrollLeft));
      return svg("path", { d: `M${x0} ${y0}C${(x0 + x1) / 2} ${y0} ${(x0 + x1) / 2} ${y1} ${x1} ${y1}` });
    })));
  };
  place.append(h("section", { "aria-labelledby": "lineage" }, h("h2", { id: "lineage" }, "Its family"), h("div", { class: "scroll" }, graph)));
  const sized = new ResizeObserver(draw);
  sized.observe(graph);
  leaving(() => sized.disconnect());
}
