/** A request to the server as a program: what the page has just asked, to be copied. */

const KEY = "YOUR-API-KEY";

const shell = (text) => (/^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);
const quoted = (text) => JSON.stringify(text); // a string of Python and of JavaScript alike

/** The address of a question: the server's root, the model where one is named, and what is asked besides. */
export function addressOf(root, { verb, model, query = {} }) {
  const path = model === undefined ? verb : `models/${encodeURIComponent(model)}/${verb}`;
  const given = new URLSearchParams(Object.entries(query).filter(([, value]) => value !== undefined));
  return `${root}${path}${given.size > 0 ? `?${given}` : ""}`;
}

function curl({ address, file, headers }) {
  const lines = Object.entries(headers).map(([name, value]) => `  -H ${shell(`${name}: ${value}`)} \\`);
  return ["curl \\", ...lines, `  --data-binary ${shell(`@${file}`)} \\`, `  ${shell(address)}`].join("\n");
}

function python({ address, file, headers }) {
  const entries = Object.entries(headers).map(([name, value]) => `${quoted(name)}: ${quoted(value)}`);
  return `import json
from pathlib import Path
from urllib.request import Request, urlopen

request = Request(
    ${quoted(address)},
    data=Path(${quoted(file)}).read_bytes(),
    headers={${entries.join(", ")}},
)
with urlopen(request) as response:
    print(json.dumps(json.load(response), indent=2, ensure_ascii=False))`;
}

function javascript({ address, file, headers }) {
  const entries = Object.entries(headers).map(([name, value]) => `${quoted(name)}: ${quoted(value)}`);
  return `import { readFile } from "node:fs/promises";

const response = await fetch(${quoted(address)}, {
  method: "POST",
  headers: { ${entries.join(", ")} },
  body: await readFile(${quoted(file)}),
});
console.log(await response.json());`;
}

const LANGUAGES = { curl, python, javascript };

/** The request as a program in one of the languages; `hasKey` puts a place for the key into it. */
export function snippet(language, { address, file, hasKey }) {
  const headers = { "Content-Type": "application/octet-stream" };
  if (hasKey) headers.Authorization = `Bearer ${KEY}`;
  return LANGUAGES[language]({ address, file, headers });
}
