/** The nearest of the pictures so far, by the cosine of their vectors; they are forgotten with the page. */

import { draw, element, find } from "./dom.js";
import { thumbnail } from "./shrink.js";
import { events, shown } from "./state.js";

const MOST_KEPT = 2000;
const MOST_SHOWN = 5;

const kept = []; // { name, file, version, vector of norm 1 }

/** Keep the vector of a picture; one that is there already is kept once. */
export function remember(file, name, { model, version, embedding }) {
  const norm = Math.hypot(...embedding) || 1;
  const vector = Float32Array.from(embedding, (number) => number / norm);
  const source = `${model} ${version}`;
  const same = kept.findIndex((one) => one.file === file && one.source === source);
  if (same >= 0) kept.splice(same, 1);
  kept.push({ name, file, source, vector });
  if (kept.length > MOST_KEPT) kept.shift();
}

/** The others of the same model, nearest first. */
function nearestTo({ file, source, vector }) {
  return kept
    .filter((one) => one.file !== file && one.source === source)
    .map((one) => ({ ...one, cosine: one.vector.reduce((sum, value, at) => sum + value * vector[at], 0) }))
    .sort((a, b) => b.cosine - a.cosine)
    .slice(0, MOST_SHOWN);
}

async function showNearest() {
  const { answer, file, name } = shown;
  find("nearest").hidden = answer.embedding === undefined;
  if (answer.embedding === undefined) return;
  remember(file, name, answer);
  const others = nearestTo(kept.at(-1));
  find("nearest-none").hidden = others.length > 0;
  const lines = others.map(({ name: other, cosine }) => {
    const line = element("li", "");
    const image = element("img", "");
    image.alt = "";
    line.append(image, element("span", "label", other), element("span", "percent", cosine.toFixed(3)));
    return line;
  });
  find("nearest-list").replaceChildren(...lines);
  for (const [at, { file: other }] of others.entries()) {
    const small = await thumbnail(other);
    if (small !== null) draw(lines[at].firstChild, small);
    else lines[at].firstChild.hidden = true;
  }
}

events.addEventListener("answer", showNearest);
events.addEventListener("picture", () => {
  if (shown.file === null) find("nearest").hidden = true;
});
