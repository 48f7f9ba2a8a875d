/** What the model sees: the crop beside the picture, from the server's own preprocessing, and its place in it. */

import { draw, find, showFailure } from "./dom.js";
import { chosenModel } from "./single.js";
import { events, server, shown } from "./state.js";

const button = find("see");
let pinned = false; // by a click or a key; without that, it is there while the button is pointed at
let wanted = false;
let made = null; // the crop of the picture that is shown

/** Lay an element over the part of the picture that the server says. */
export function layOver(part, { left, top, width, height }) {
  for (const [side, share] of Object.entries({ left, top, width, height })) part.style[side] = `${100 * share}%`;
}

async function showCrop() {
  button.ariaPressed = String(pinned);
  const visible = wanted && shown.sent !== null;
  if (!visible) {
    find("crop").hidden = find("frame").hidden = true;
    return;
  }
  const asked = (made ??= server.client.crop(shown.sent, { model: chosenModel() }));
  try {
    const { image, part } = await asked;
    if (asked !== made || !wanted) return;
    draw(find("crop-image"), image);
    find("crop-image").alt = `What the model sees of ${shown.name}`;
    layOver(find("frame"), part);
    find("crop").hidden = find("frame").hidden = false;
  } catch (error) {
    if (asked !== made) return;
    made = null;
    showFailure(error);
  }
}

function want(now) {
  if (wanted === now && button.ariaPressed === String(pinned)) return;
  wanted = now;
  showCrop();
}

button.addEventListener("pointerenter", ({ pointerType }) => {
  if (pointerType === "mouse") want(true);
});
button.addEventListener("pointerleave", () => want(pinned));
button.addEventListener("focus", () => {
  if (button.matches(":focus-visible")) want(true);
});
button.addEventListener("blur", () => want(pinned));
button.addEventListener("click", () => {
  pinned = !pinned;
  want(pinned);
});
find("crop-image").addEventListener("load", ({ target }) => {
  find("crop-size").textContent = `${target.naturalWidth} × ${target.naturalHeight} pixels`;
});

events.addEventListener("picture", () => {
  made = null;
  find("crop").hidden = find("frame").hidden = true;
});
events.addEventListener("answer", showCrop);
