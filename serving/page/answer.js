/** An answer: bars of the classes, or the first numbers of a vector; where the time went; who answered. */

import { element, find, milliseconds, percent, say } from "./dom.js";

const FEW_NUMBERS = 8;
const UNSURE = 0.3;
const STAGES = ["decode", "preprocess", "queue", "infer"];

/** The best class, or every label that reaches the threshold. */
function summary({ predictions, threshold }) {
  if (threshold !== undefined) {
    const reached = predictions.filter((one) => one.above_threshold).map(({ label }) => label);
    return `${reached.join(", ") || "No label"}: ${percent(threshold)} or more`;
  }
  const [{ label, probability }] = predictions;
  return `${probability < UNSURE ? "Not sure: " : ""}${label}, ${percent(probability)}`;
}

/** A line with a bar for each class. */
export function bars(predictions) {
  return predictions.map(({ label, probability, above_threshold: reached }) => {
    const line = element("li", reached === undefined ? "" : reached ? "reached" : "below");
    const fill = element("div", "fill");
    fill.style.width = `${100 * Math.max(0, Math.min(1, probability))}%`;
    const bar = element("div", "bar");
    bar.ariaHidden = "true"; // the percentage says the same
    bar.append(fill);
    line.append(element("span", "label", label), element("span", "percent", percent(probability)), bar);
    return line;
  });
}

export function showAnswer(answer) {
  say(summary(answer), true);
  find("predictions").ariaLabel = "The most probable classes";
  find("predictions").replaceChildren(...bars(answer.predictions));
  showSource(answer);
}

/** A vector says nothing to people; its size and its first numbers show that there is one. */
export function showEmbedding(answer) {
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
