/** What the types promise is there. */

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";

import * as client from "pinnace-client";

const types = await readFile(new URL("../pinnace.d.ts", import.meta.url), "utf8");

function classBody(name) {
  return types.match(new RegExp(`export class ${name} .*?^}`, "ms"))[0];
}

test("the module exports the classes of its types and nothing else", () => {
  const declared = [...types.matchAll(/^export (?:class|function|const) (\w+)/gm)].map(([, name]) => name);
  assert.deepEqual(Object.keys(client).sort(), declared.sort());
});

test("the client has the methods of its types and no others", () => {
  const declared = [...classBody("Client").matchAll(/^ {2}(?:readonly )?(\w+)[(:]/gm)].map(([, name]) => name);
  assert.deepEqual(Object.getOwnPropertyNames(client.Client.prototype).sort(), declared.sort());
});

test("an error has the fields of its types", () => {
  const declared = [...classBody("PinnaceError").matchAll(/^ {2}readonly (\w+):/gm)].map(([, name]) => name);
  const error = new client.PinnaceError("m", { code: "c" });
  for (const name of declared) assert.ok(Object.hasOwn(error, name), name);
});
