/** The client against a real server, whose address is in PINNACE_URL. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { Client, PinnaceError } from "pinnace-client";

const url = process.env.PINNACE_URL;
const options = { skip: url ? false : "PINNACE_URL is not set" };
const client = url ? new Client(url) : null;

/** A BMP of 8 x 8 pixels of one colour. */
function bitmap(red, green, blue) {
  const [side, header] = [8, 54];
  const bytes = Buffer.alloc(header + 3 * side * side);
  bytes.write("BM");
  bytes.writeUInt32LE(bytes.length, 2);
  bytes.writeUInt32LE(header, 10);
  bytes.writeUInt32LE(40, 14);
  bytes.writeInt32LE(side, 18);
  bytes.writeInt32LE(side, 22);
  bytes.writeUInt16LE(1, 26);
  bytes.writeUInt16LE(24, 28);
  for (let at = header; at < bytes.length; at += 3) bytes.set([blue, green, red], at);
  return bytes;
}

const IMAGE = bitmap(220, 30, 40);

test("the server is ready", options, async () => {
  assert.equal(await client.ready(), true);
});

test("every kind of image gives the same answer", options, async () => {
  const copy = new Uint8Array(IMAGE);
  const kinds = [IMAGE, copy, copy.buffer, new DataView(copy.buffer), new Blob([copy])];
  const answers = await Promise.all(kinds.map((kind) => client.classify(kind, { topK: 2 })));
  for (const { model, variant, runtime, predictions, timing_ms: timing } of answers) {
    assert.deepEqual(predictions, answers[0].predictions);
    assert.equal(predictions.length, 2);
    assert.ok(predictions[0].probability >= predictions[1].probability);
    assert.ok([model, variant, runtime].every((name) => name.length > 0));
    assert.deepEqual(Object.keys(timing), ["decode", "preprocess", "queue", "infer", "total"]);
  }
});

test("a model is listed, and answers by its name", options, async () => {
  const [model] = await client.models();
  assert.equal(model.labels.length, model.classes);
  assert.equal(model.preprocess.mean.length, model.input.shape[1]);
  const answer = await client.classify(IMAGE, { topK: 1, model: model.name });
  assert.deepEqual([answer.model, answer.variant, answer.runtime], [model.name, model.variant, model.runtime]);
  assert.equal(answer.predictions[0].label, model.labels[answer.predictions[0].index]);
});

test("what the model sees is a PNG, and where it lies", options, async () => {
  const { image, part } = await client.crop(IMAGE);
  const first = Buffer.from(await image.slice(0, 8).arrayBuffer());
  assert.deepEqual(first, Buffer.from([0x89, 0x50, 0x4e, 0x47, 13, 10, 26, 10]));
  assert.ok(Object.values(part).every(Number.isFinite));
  await assert.rejects(client.crop(Buffer.from("hello")), { code: "unsupported_image_type", status: 415 });
});

test("a server that was not started with --explain says so", options, async () => {
  await assert.rejects(client.explain(IMAGE, { index: 0, grid: 2 }), { code: "not_enabled", status: 404 });
});

test("a batch has an answer or an error for each image, in order", options, async () => {
  const images = [IMAGE, Buffer.from("hello"), new Blob([bitmap(20, 30, 220)])];
  const [first, second, third] = await client.classifyBatch(images, { topK: 1 });
  assert.deepEqual(first.predictions, (await client.classify(IMAGE, { topK: 1 })).predictions);
  assert.ok(second instanceof PinnaceError);
  assert.deepEqual(
    [second.code, second.status, second.message, second.hint],
    [
      "unsupported_image_type",
      null,
      "the bytes are not of an accepted image type",
      "expected: JPEG, PNG, WEBP, GIF, BMP, TIFF, AVIF, HEIF",
    ],
  );
  assert.deepEqual(third.predictions, (await client.classify(images[2], { topK: 1 })).predictions);
});

test("a batch without images is refused", options, async () => {
  await assert.rejects(client.classifyBatch([]), (error) => error instanceof PinnaceError && error.status >= 400);
});

test("the server's words reach the caller", options, async () => {
  const [{ name, classes }] = await client.models();
  const refusals = [
    [
      [Buffer.from("hello")],
      [415, "unsupported_image_type", "the bytes are not of an accepted image type"],
      "expected: JPEG, PNG, WEBP, GIF, BMP, TIFF, AVIF, HEIF",
    ],
    [[Buffer.alloc(0)], [400, "undecodable_image", "the image is empty"], null],
    [
      [IMAGE, { topK: 0 }],
      [422, "invalid_parameter", `top_k must be between 1 and ${classes}, the number of classes`],
      null,
    ],
    [[IMAGE, { model: "none" }], [404, "unknown_model", "no model is named 'none' here"], `expected: ${name}`],
  ];
  for (const [parameters, [status, code, message], hint] of refusals) {
    await assert.rejects(client.classify(...parameters), (error) => {
      assert.ok(error instanceof PinnaceError);
      const { status: s, code: c, message: m, hint: h } = error;
      assert.deepEqual([s, c, m, h], [status, code, message, hint]);
      return true;
    });
  }
});
