/** Side by side: a second model on the same picture, asked after the first, so that neither slows the other. */

import { bars } from "./answer.js";
import { ask } from "./ask.js";
import { element, find, milliseconds } from "./dom.js";
import { PinnaceError } from "./pinnace.js";
import { chosenModel } from "./single.js";
import { events, server, shown } from "./state.js";

let asking = null;

function fillChoice() {
  const select = find("beside");
  const before = select.value;
  const others = [...server.models.keys()].filter((name) => name !== find("model").value);
  select.replaceChildren(new Option("nothing", ""), ...others.map((name) => new Option(name, name)));
  select.value = others.includes(before) ? before : "";
  find("beside-choice").hidden = others.length === 0;
}

function hide() {
  asking?.abort();
  asking = null;
  find("other").hidden = true;
  find("own-title").hidden = true;
}

/** What two answers are called: by their models, or by their variants where these are of one model. */
function names(own, other) {
  const one = other.model === `${own.model}@${other.variant}` || own.model === `${other.model}@${own.variant}`;
  return [own, other].map(({ model, variant }) => (one ? variant : model));
}

const title = (name, { timing_ms: timing }) => `${name}: ${milliseconds(timing.infer)}`;

/** The same two times as a sentence; `infer` is what the models differ in. */
function compared(own, other) {
  const [ownName, otherName] = names(own, other);
  const [mine, its] = [own.timing_ms.infer, other.timing_ms.infer];
  const ratio = (Math.max(mine, its) / Math.min(mine, its)).toFixed(1);
  if (!Number.isFinite(Number(ratio)) || ratio === "1.0") return "Both take the same time to infer.";
  return `${its < mine ? otherName : ownName} infers ${ratio} times as fast here.`;
}

async function askOther() {
  hide();
  const model = find("beside").value;
  if (model === "" || shown.answer === null) return;
  const mine = new AbortController();
  asking = mine;
  const own = shown.answer;
  find("other-error").textContent = "";
  find("other-list").replaceChildren();
  try {
    const { answer } = await ask(shown.file, { model, signal: mine.signal });
    if (asking !== mine) return;
    const [ownName, otherName] = names(own, answer);
    find("own-title").textContent = title(ownName, own);
    find("other-title").textContent = title(otherName, answer);
    const first = answer.embedding?.slice(0, 4).map((number) => element("li", "", number.toFixed(4)));
    find("other-list").replaceChildren(...(first ?? bars(answer.predictions)));
    find("other-source").textContent = `${answer.variant} in ${answer.runtime}. ${compared(own, answer)}`;
    find("own-title").hidden = false;
  } catch (error) {
    if (asking !== mine) return;
    if (!(error instanceof PinnaceError)) throw error;
    find("other-title").textContent = model;
    find("other-source").textContent = "";
    find("other-error").textContent = error.message;
  }
  find("other").hidden = false;
}

find("beside").addEventListener("change", askOther);
events.addEventListener("models", fillChoice);
events.addEventListener("picture", () => {
  fillChoice();
  hide();
});
events.addEventListener("answer", askOther);
