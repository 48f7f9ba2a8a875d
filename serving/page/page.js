/** The page: takes a picture, asks the server, shows the answer. Whatever comes from outside is put in as text. */

import { Client, PinnaceError } from "./pinnace.js";

const FEW_NUMBERS = 8;

const STAGES = ["decode", "preprocess", "queue", "infer"];

const root = new URL(".", document.baseURI);
const find = (id) => document.getElementById(id);

let client = new Client(root);
let picture = null; // the file shown, so that another model can be asked about it
let meanings = new Map(); // what each model answers with, by its name
let asking = null; // aborts the question that is under way

/** The element, with its classes and its text; an empty class stands for none. */
function element(tag, className, text = "") {
  const made = document.createElement(tag);
  made.className = className;
  made.textContent = text;
  return made;
}

/** A message as a sentence; who looks at the page need not know the server's address. */
function sentence(text) {
  const words = text.replace(client.url, "the server").trim();
  return words.charAt(0).toUpperCase() + words.slice(1) + (/[.!?]$/.test(words) ? "" : ".");
}

function percent(probability) {
  if (probability > 0 && probability < 0.001) return "<0.1%";
  if (probability < 1 && probability >= 0.9995) return ">99.9%";
  return `${(100 * probability).toFixed(1)}%`;
}

function milliseconds(value) {
  return value > 0 && value < 0.05 ? "<0.1 ms" : `${value.toFixed(1)} ms`;
}

function say(text, answered = false) {
  const status = find("status");
  status.textContent = text;
  status.classList.toggle("answered", answered);
}

function showError(message, hint = null) {
  const lines = [message, hint].filter((line) => line !== null).map(sentence);
  find("error").replaceChildren(...lines.map((line) => element("p", "", line)));
}

/** What the client throws, and a place for the key where the server wants one; the key is kept nowhere else. */
function showFailure(error) {
  if (!(error instanceof PinnaceError)) throw error;
  const wantsKey = error.status === 401;
  showError(error.message, wantsKey ? null : error.hint);
  find("key-entry").hidden = !wantsKey;
}

function showPicture(file, name) {
  const image = find("preview-image");
  URL.revokeObjectURL(image.src);
  image.hidden = false;
  image.src = URL.createObjectURL(file);
  image.alt = `The picture to classify: ${name}`;
  find("preview-name").textContent = name;
  find("preview").hidden = false;
}

/** The best class, or every label that reaches the threshold. */
function summary({ predictions, threshold }) {
  if (threshold === undefined) return `${predictions[0].label}, ${percent(predictions[0].probability)}`;
  const reached = predictions.filter((one) => one.above_threshold).map(({ label }) => label);
  return `${reached.join(", ") || "No label"}: ${percent(threshold)} or more`;
}

function showAnswer(answer) {
  say(summary(answer), true);
  find("predictions").ariaLabel = "The most probable classes";
  find("predictions").replaceChildren(
    ...answer.predictions.map(({ label, probability, above_threshold: reached }) => {
      const line = element("li", reached === undefined ? "" : reached ? "reached" : "below");
      const fill = element("div", "fill");
      fill.style.width = `${100 * probability}%`;
      const bar = element("div", "bar");
      bar.ariaHidden = "true"; // the percentage says the same
      bar.append(fill);
      line.append(element("span", "label", label), element("span", "percent", percent(probability)), bar);
      return line;
    }),
  );
  showSource(answer);
}

/** A vector says nothing to people; its size and its first numbers show that there is one. */
function showEmbedding(answer) {
  const { embedding, normalised } = answer;
  say(`An embedding of ${embedding.length} numbers, ${normalised ? "of norm 1" : "not normalised"}`, true);
  const first = embedding.slice(0, FEW_NUMBERS).map((number) => number.toFixed(4));
  const more = embedding.length > FEW_NUMBERS ? [...first, "…"] : first;
  const line = element("li", "");
  line.append(element("span", "label", more.join("  ")));
  find("predictions").ariaLabel = "The first numbers";
  find("predictions").replaceChildren(line);
  showSource(answer);
}

function showSource(answer) {
  showStages(answer.timing_ms);
  for (const part of ["model", "variant", "runtime"]) find(`answer-${part}`).textContent = answer[part];
  find("answer").hidden = false;
}

/** On a small screen the answer comes in below the picture, out of sight. */
function bringIntoSight(part) {
  if (part.getBoundingClientRect().bottom > window.innerHeight) part.scrollIntoView({ block: "start" });
}

function showStages(timing) {
  const known = STAGES.filter((stage) => Number.isFinite(timing[stage]));
  const sum = known.reduce((total, stage) => total + timing[stage], 0);
  find("stages-title").textContent = `Time on the server: ${milliseconds(timing.total)}`;
  find("stages-bar").replaceChildren(
    ...known.map((stage) => {
      const part = element("div", stage);
      part.style.width = `${sum > 0 ? (100 * timing[stage]) / sum : 0}%`;
      return part;
    }),
  );
  find("stages").replaceChildren(
    ...known.map((stage) => {
      const name = element("dt", "");
      name.append(element("span", `swatch ${stage}`), stage);
      const entry = element("div", "");
      entry.append(name, element("dd", "", milliseconds(timing[stage])));
      return entry;
    }),
  );
}

/** Ask about a picture; a question that is still under way is dropped. */
async function classify(file, name) {
  picture = { file, name };
  asking?.abort();
  const mine = new AbortController();
  asking = mine;
  find("error").replaceChildren();
  showPicture(file, name);
  say(`Asking about ${name} …`);
  find("result").ariaBusy = "true";
  try {
    const model = find("model").disabled ? undefined : find("model").value;
    const embeds = meanings.get(model ?? find("model").value) === "embedding";
    const answer = await client[embeds ? "embed" : "classify"](file, { model, signal: mine.signal });
    if (asking !== mine) return;
    if (embeds) showEmbedding(answer);
    else showAnswer(answer);
    bringIntoSight(find("status"));
  } catch (error) {
    if (asking !== mine) return;
    say("");
    find("answer").hidden = true;
    showFailure(error);
    bringIntoSight(find("error"));
  } finally {
    if (asking === mine) find("result").ariaBusy = "false";
  }
}

function takeFiles(files, otherwise) {
  if (files.length === 0) showError(otherwise);
  else classify(files[0], files[0].name || "the picture");
}

async function useExample(button) {
  const path = button.dataset.example;
  const response = await fetch(path).catch(() => null);
  if (response?.ok) await classify(await response.blob(), path.split("/").pop());
  else showError("the example cannot be loaded", "is the server still running?");
}

/** Fill the list of models; false where the server does not tell. */
async function loadModels() {
  const select = find("model");
  try {
    const models = await client.models();
    meanings = new Map(models.map(({ name, outputs }) => [name, outputs?.meaning]));
    select.replaceChildren(...models.map(({ name }) => new Option(name, name)));
    select.disabled = models.length < 2;
    return true;
  } catch (error) {
    showFailure(error);
    return false;
  }
}

async function useKey() {
  try {
    client = new Client(root, { apiKey: find("key").value });
  } catch {
    showError("this cannot be a key", "a key is made of plain letters, digits and signs");
    return;
  }
  find("error").replaceChildren();
  if (!(await loadModels())) return;
  find("key-entry").hidden = true;
  if (picture !== null) await classify(picture.file, picture.name);
}

for (const id of ["pick", "photograph"]) {
  find(id).addEventListener("change", ({ target }) => {
    if (target.files.length > 0) takeFiles(target.files);
    target.value = ""; // the same file can be chosen again
  });
}

for (const button of document.querySelectorAll("[data-example]")) {
  button.addEventListener("click", () => useExample(button));
}

find("use-key").addEventListener("click", useKey);
find("key").addEventListener("keydown", ({ key }) => {
  if (key === "Enter") useKey();
});

find("model").addEventListener("change", () => {
  if (picture !== null) classify(picture.file, picture.name);
});

// A browser shows no preview of a TIFF, or of what is no picture; the server has the last word on it.
find("preview-image").addEventListener("error", ({ target }) => {
  target.hidden = true;
});

document.addEventListener("paste", (event) => {
  if (event.target === find("key")) return;
  takeFiles(event.clipboardData.files, "there is no picture in the clipboard");
});

// Anywhere on the page, so that a picture let go beside the frame does not replace the page.
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  find("drop").classList.add("over");
});

document.addEventListener("dragleave", (event) => {
  if (event.relatedTarget === null) find("drop").classList.remove("over");
});

document.addEventListener("drop", (event) => {
  event.preventDefault();
  find("drop").classList.remove("over");
  takeFiles(event.dataTransfer.files, "what was dropped is no file: save the picture first, then drop the file");
});

await loadModels();
