/** Several labels: a slider for the score from which on a label counts as true. */

import { showAnswer } from "./answer.js";
import { find, percent } from "./dom.js";
import { showAgain } from "./single.js";
import { events, shown } from "./state.js";

const slider = find("threshold");

function showValue() {
  find("threshold-value").textContent = percent(Number(slider.value));
}

events.addEventListener("answer", () => {
  const { threshold } = shown.answer;
  find("threshold-entry").hidden = threshold === undefined;
  if (threshold === undefined) return;
  slider.value = threshold;
  showValue();
});

events.addEventListener("picture", () => {
  if (shown.file === null) find("threshold-entry").hidden = true; // else it may have the focus
});

// While it moves, the labels that are there are marked anew; once it stands, the server is asked for all of them.
slider.addEventListener("input", () => {
  showValue();
  if (shown.answer === null) return; // it is being asked about
  const threshold = Number(slider.value);
  const predictions = shown.answer.predictions.map((one) => ({ ...one, above_threshold: one.probability >= threshold }));
  showAnswer({ ...shown.answer, predictions, threshold });
});
slider.addEventListener("change", () => showAgain({ threshold: Number(slider.value) }));
