/** Answers as a table, with the columns that `pinnace classify -o answers.csv --top-k 1` writes. */

const COLUMNS = [
  "image",
  "model",
  "variant",
  "runtime",
  "total_ms",
  "label_1",
  "index_1",
  "probability_1",
  "error_code",
  "error_message",
];

const cell = (value) => (/[",\r\n]/.test(String(value)) ? `"${String(value).replaceAll('"', '""')}"` : String(value));

function row({ name, answer, error }) {
  if (error !== null) return [name, "", "", "", "", "", "", "", error.code, error.message];
  const [first] = answer.predictions ?? [{ label: "", index: "", probability: "" }];
  const source = [name, answer.model, answer.variant, answer.runtime, answer.timing_ms.total.toFixed(3)];
  return [...source, first.label, first.index, first.probability, "", ""];
}

/** The rows of what is answered or has failed, one a line. */
export function csv(items) {
  const finished = items.filter(({ answer, error }) => answer !== null || error !== null);
  return [COLUMNS, ...finished.map(row)].map((cells) => `${cells.map(cell).join(",")}\n`).join("");
}
