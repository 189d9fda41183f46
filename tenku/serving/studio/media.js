// Pictures and clips that one brings along, or takes from the library, as material to work on.
import { Failure, content, upload } from "./api.js";
import { h } from "./dom.js";

const LIMIT = 32; // MiB, as the server's
const SIDE = 320; // pixels of the small picture that stands for it here
export const still = (video) => Number(video.seconds) === 0;
export const accepts = "image/png,image/jpeg,image/webp,image/gif,video/mp4,video/quicktime,video/webm,video/x-matroska,.mkv";

function small(source, width, height) {
  const scale = Math.min(1, SIDE / Math.max(width, height));
  const canvas = h("canvas", { width: Math.max(1, Math.round(width * scale)), height: Math.max(1, Math.round(height * scale)) });
  canvas.getContext("2d").drawImage(source, 0, 0, canvas.width, canvas.height);
  return canvas.toDataURL("image/jpeg", 0.85);
}

// Sees what the browser can see of a file: a picture of it, its shape and length. Nothing is wrong with one it cannot show.
async function look(file) {
  const address = URL.createObjectURL(file);
  try {
    if (file.type.startsWith("image/")) {
      const image = h("img", { src: address, alt: "" });
      await image.decode();
      return { thumb: small(image, image.naturalWidth, image.naturalHeight), width: image.naturalWidth, height: image.naturalHeight, seconds: 0 };
    }
    const video = h("video", { src: address, muted: true, playsInline: true, preload: "auto" });
    await new Promise((good, bad) => { video.onloadeddata = good; video.onerror = bad; setTimeout(bad, 5000); });
    return { thumb: small(video, video.videoWidth, video.videoHeight), width: video.videoWidth, height: video.videoHeight, seconds: video.duration };
  } catch {
    return { thumb: "", width: 0, height: 0, seconds: 0 };
  } finally {
    URL.revokeObjectURL(address);
  }
}

// Material: { source, name, kind, seconds, thumb, size, at, strength }
export async function brought(file) {
  if (!/^(image|video)\//.test(file.type) && !/\.(mkv|mp4|mov|webm)$/i.test(file.name ?? ""))
    throw new Failure(0, { message: `${file.name || "This"} is neither a picture nor a clip` });
  if (file.size > LIMIT << 20) throw new Failure(0, { message: `${file.name} has more than ${LIMIT} MB` });
  const [seen, kept] = await Promise.all([look(file), upload(file)]);
  return { source: kept.id, name: file.name || "a picture", kind: /^image\/(?!gif)/.test(file.type) ? "image" : "video",
    seconds: Number.isFinite(seen.seconds) ? seen.seconds : 0, thumb: seen.thumb, size: seen.width ? `${seen.width}x${seen.height}` : "", at: 0, strength: 1 };
}

export const own = (video) => ({ source: video.id, name: video.prompt, kind: still(video) ? "image" : "video",
  seconds: (video.tenku.facts?.frames ?? 1 + Math.round(Number(video.seconds) * video.tenku.fps)) / video.tenku.fps, thumb: content(video.id, "thumbnail"),
  size: video.size, fps: video.tenku.fps, at: 0, strength: 1 });

// The frame that a player shows, as a file.
export function grabbed(player, name) {
  const canvas = h("canvas", { width: player.videoWidth, height: player.videoHeight });
  canvas.getContext("2d").drawImage(player, 0, 0);
  return new Promise((good) => canvas.toBlob((blob) => good(new File([blob], `${name}.png`, { type: "image/png" })), "image/png"));
}

// Where a piece of material can be seen whole: the server's clip or file.
export const address = (one) => (one.source.startsWith("video_") ? content(one.source) : `/v1/files/${one.source}/content`);
