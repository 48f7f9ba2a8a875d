/** Many pictures: a grid of them with the first class under each; filtered, sorted, written as a table. */

import { ask } from "./ask.js";
import { csv } from "./csv.js";
import { clearError, download, draw, element, find, percent, say, showFailure } from "./dom.js";
import { remember } from "./nearest.js";
import { PinnaceError } from "./pinnace.js";
import { thumbnail } from "./shrink.js";
import { chosenModel, forget, show } from "./single.js";
import { shown } from "./state.js";

const AT_ONCE = 4; // pictures that are decoded here, or wait for the server
const REDRAW_MS = 300;
const FAILED = "\u0000failed"; // no label has this

let items = []; // { file, name, answer, error, line }
let running = null;
let redrawing = null;

function lineOf(item) {
  const line = element("li", "");
  const button = element("button", "picture");
  button.type = "button";
  const image = element("img", "");
  image.alt = "";
  const name = element("span", "name", item.name.split("/").pop());
  button.title = item.name;
  button.append(image, name, element("span", "class", "…"));
  button.addEventListener("click", () => {
    show(item.file, item.name);
    find("picture-title").scrollIntoView({ block: "start" });
  });
  line.append(button);
  return line;
}

const firstOf = ({ answer }) => answer?.predictions?.[0] ?? null;

function showOutcome(item) {
  const text = item.line.querySelector(".class");
  const first = firstOf(item);
  item.line.classList.toggle("failed", item.error !== null);
  if (item.error !== null) text.textContent = item.error.message;
  else if (first === null) text.textContent = "embedded";
  else text.replaceChildren(element("span", "label", first.label), ` ${percent(first.probability)}`);
}

async function work(item, { model, signal }) {
  const small = await thumbnail(item.file);
  if (small !== null) draw(item.line.querySelector("img"), small);
  try {
    const { answer } = await ask(item.file, { model, signal });
    item.answer = answer;
    if (answer.embedding !== undefined) remember(item.file, item.name, answer);
  } catch (error) {
    if (signal.aborted) return;
    if (!(error instanceof PinnaceError)) throw error;
    if (error.status === 401) showFailure(error);
    item.error = error;
  }
  showOutcome(item);
}

/** Which of the pictures are seen, in which order. */
function chosen() {
  const wanted = find("filter").value;
  const kept = items.filter((item) => {
    if (wanted === "") return true;
    return wanted === FAILED ? item.error !== null : firstOf(item)?.label === wanted;
  });
  const direction = { sure: -1, unsure: 1 }[find("order").value];
  if (direction === undefined) return kept;
  const sureness = (item) => firstOf(item)?.probability ?? (direction < 0 ? -1 : 2);
  return kept.sort((a, b) => direction * (sureness(a) - sureness(b)));
}

function fillFilter() {
  const counts = new Map();
  for (const item of items) {
    const label = item.error === null ? firstOf(item)?.label : FAILED;
    if (label !== undefined) counts.set(label, (counts.get(label) ?? 0) + 1);
  }
  const names = [...counts.keys()].filter((label) => label !== FAILED).sort((a, b) => a.localeCompare(b));
  const options = names.map((label) => new Option(`${label} (${counts.get(label)})`, label));
  if (counts.has(FAILED)) options.push(new Option(`not answered (${counts.get(FAILED)})`, FAILED));
  const before = find("filter").value;
  find("filter").replaceChildren(new Option(`all (${items.length})`, ""), ...options);
  find("filter").value = before === FAILED || counts.has(before) ? before : "";
}

/** Where the order is the one in which they came and nothing is left out, the grid is right as it is. */
function arrange() {
  const lines = chosen().map(({ line }) => line);
  const there = find("grid").children;
  if (lines.length !== there.length || lines.some((line, at) => line !== there[at])) find("grid").replaceChildren(...lines);
}

function redraw() {
  redrawing = null;
  const done = items.filter(({ answer, error }) => answer !== null || error !== null).length;
  find("many-progress").max = items.length;
  find("many-progress").value = done;
  find("many-count").textContent = `${done} of ${items.length}`;
  // A list that is open would close when it is made anew.
  if (done === items.length || document.activeElement !== find("filter")) fillFilter();
  arrange();
}

/** Hundreds of answers a second are drawn together. */
function redrawSoon() {
  redrawing ??= setTimeout(redraw, REDRAW_MS);
}

function finish(stopped) {
  clearTimeout(redrawing);
  redraw();
  const failed = items.filter(({ error }) => error !== null).length;
  const done = items.filter(({ answer }) => answer !== null).length;
  find("many-stop").hidden = true;
  find("many-done").textContent = `${stopped ? "Stopped: " : ""}${done} answered, ${failed} not.`;
}

/** Ask about files, a few at once; what was there before goes, also the single picture unless it is to stay. */
export async function showMany(files, { keepSingle = false } = {}) {
  running?.abort();
  const mine = new AbortController();
  running = mine;
  if (!keepSingle) {
    forget();
    clearError();
    say(`${files.length} pictures are below.`);
    find("answer").hidden = true;
  }
  items = Array.from(files, (file) => ({ file, name: file.webkitRelativePath || file.name, answer: null, error: null }));
  for (const item of items) item.line = lineOf(item);
  find("filter").value = "";
  find("grid").replaceChildren(...items.map(({ line }) => line));
  find("many-done").textContent = "";
  find("many").hidden = find("many-stop").hidden = false;
  redraw();
  if (!keepSingle) find("many").scrollIntoView({ block: "start" });
  const waiting = items.values(); // shared: each of those at work takes the next
  const options = { model: chosenModel(), signal: mine.signal };
  async function take() {
    for (const item of waiting) {
      if (mine.signal.aborted) return;
      await work(item, options);
      if (running === mine) redrawSoon();
    }
  }
  await Promise.all(Array.from({ length: AT_ONCE }, take));
  if (running === mine) finish(mine.signal.aborted);
}

/** Ask about all of them once more, another model say. */
export function showManyAgain() {
  if (!find("many").hidden) showMany(items.map(({ file }) => file), { keepSingle: shown.file !== null });
}

for (const id of ["filter", "order"]) find(id).addEventListener("change", arrange);
find("many-stop").addEventListener("click", () => running?.abort());
find("download").addEventListener("click", () => {
  download(new Blob([csv(chosen())], { type: "text/csv" }), "pinnace.csv");
});
