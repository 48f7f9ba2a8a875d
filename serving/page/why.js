/** Why: how much each part of the picture counts for the first class, drawn over it. */

import { find, percent, showFailure } from "./dom.js";
import { layOver } from "./seen.js";
import { chosenModel } from "./single.js";
import { embeds, events, server, shown } from "./state.js";

const GRID = 8;
const COLOUR = [214, 40, 40];
const STRONGEST = 190; // of 255: the picture stays to be seen

let asking = null;

function hide() {
  asking?.abort();
  asking = null;
  find("heat").hidden = true;
  find("why-text").textContent = "";
  find("why").ariaPressed = "false";
}

/** The map as one pixel for each field; the browser makes it as large as the picture, and smooth. */
function drawMap({ drops, part }) {
  const heat = find("heat");
  [heat.height, heat.width] = [drops.length, drops[0].length];
  const values = drops.flat();
  const most = Math.max(...values, 1e-9);
  const pixels = new Uint8ClampedArray(values.flatMap((drop) => [...COLOUR, (STRONGEST * Math.max(0, drop)) / most]));
  heat.getContext("2d").putImageData(new ImageData(pixels, heat.width, heat.height), 0, 0);
  layOver(heat, part);
  heat.hidden = false;
}

/** The map in words, which is also its name for whoever does not see it. */
function inWords({ drops, label, probability }) {
  const fields = drops.flatMap((row, y) => row.map((drop, x) => ({ drop, x, y })));
  const { drop, x, y } = fields.reduce((best, one) => (one.drop > best.drop ? one : best));
  if (drop <= 0) return `No part of it alone makes it ${label}: without any of them the score is no smaller.`;
  const place = (at, of, names) => names[Math.min(2, Math.floor((3 * (at + 0.5)) / of))];
  const down = place(y, drops.length, ["top", "middle", "bottom"]);
  const across = place(x, drops[0].length, ["left", "middle", "right"]);
  const where = down === across ? "in the middle" : `at the ${down} ${across}`;
  return `${label} comes most from the part ${where}: without it, ${percent(probability)} becomes ${percent(probability - drop)}.`;
}

async function explain() {
  if (asking !== null || !find("heat").hidden) return hide();
  const mine = new AbortController();
  asking = mine;
  find("why").ariaPressed = "true";
  find("why-text").textContent = "Asking why …";
  try {
    const { index } = shown.answer.predictions[0];
    const asked = { index, grid: GRID, model: chosenModel(), signal: mine.signal };
    const made = await server.client.explain(shown.sent, asked);
    if (asking !== mine) return;
    drawMap(made);
    find("why-text").textContent = inWords(made);
    find("heat").ariaLabel = `How much each part counts: ${inWords(made)}`;
  } catch (error) {
    if (asking !== mine) return;
    hide();
    showFailure(error);
  }
}

find("why").addEventListener("click", explain);
events.addEventListener("picture", () => {
  hide();
  find("why").disabled = find("see").disabled = true;
});
events.addEventListener("answer", () => {
  find("why").disabled = find("see").disabled = false;
  find("why").hidden = !server.explains || embeds(chosenModel());
});
