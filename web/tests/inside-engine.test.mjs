// The engine takes its network apart: what one number adds up, and what is lost without channels and blocks.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { launch, serve } from "./browser.mjs";

let browser, server, found;

const conv = (out_channels, others) => ({ type: "Conv2d", out_channels, kernel_size: 3, ...others });
const [norm, relu] = [{ type: "BatchNorm2d" }, { type: "ReLU" }];
const architecture = {
  input: [3, 28, 28],
  layers: [
    ...[conv(8, { stride: 2, bias: false }), norm, relu],
    ...[conv(8, { padding: 1, groups: 8 }), norm, relu],
    ...[conv(16, { stride: 2, padding: 1 }), relu, { type: "MaxPool2d", kernel_size: 2 }],
    ...[{ type: "AdaptiveAvgPool2d", output_size: 1 }, { type: "Flatten" }, { type: "Linear", out_features: 10 }],
  ],
};
/** Values: of the convolutions, of the first batch norm and ReLU, of the pooling. */
const [FIRST, NORM, RELU, DEPTHWISE, THIRD, POOL] = [1, 2, 3, 4, 7, 9];

before(async () => {
  server = await serve();
  browser = await launch();
  const page = await browser.newPage();
  await page.goto(`${server.address}/tests/empty.html`);
  found = await page.evaluate(
    async ([architecture, { FIRST, NORM, RELU, DEPTHWISE, THIRD, POOL }]) => {
      const engine = await import("/pkg/convscope_web.js");
      await engine.default({ module_or_path: "/dist/engine.wasm" });
      const device = await engine.Engine.open();
      const [train, val] = [600, 120].map((count, at) => engine.ImageSet.drawn("digits", 3, count, 28, at === 1));
      const optimizer = { name: "adam", weight_decay: 0 };
      const settings = JSON.stringify({ batch: 32, seed: 3, augment: false, optimizer });
      const text = JSON.stringify(architecture);
      const session = await engine.Session.create(device, text, settings, train, val, undefined, () => {});
      await session.train(0.003, 300, 1e9, false);
      const look = async () => JSON.parse(await session.look(val.pixels(0), 0));
      const looked = await look();
      const values = async (value) => [...(await session.values(value))];
      const taken = {};
      for (const [value, channel, row, column] of [[FIRST, 5, 0, 12], [FIRST, 0, 7, 3], [DEPTHWISE, 6, 0, 0], [THIRD, 15, 6, 6]]) {
        const terms = await session.terms(value, channel);
        const { bias, inputs, maps, filters } = terms;
        const cell = JSON.parse(await session.cell(value, channel, row, column));
        const key = `${value} ${channel} ${row} ${column}`;
        taken[key] = { bias, inputs: [...inputs], maps: [...maps], filters: [...filters], cell, output: await values(value) };
      }
      const affine = [...session.affine(NORM, 3)];
      const pair = [await values(FIRST), await values(NORM)];

      const judge = async (changes) => {
        session.set_changes(JSON.stringify(changes));
        await look();
        return JSON.parse(await session.judge_changes(120));
      };
      const none = { off: [], initial: [] };
      const all = Array.from({ length: 16 }, (_, channel) => [POOL, channel]);
      const judged = { none: await judge(none), one: await judge({ off: [[RELU, 2]], initial: [] }) };
      const silent = await values(RELU);
      judged.all = await judge({ off: all, initial: [] });
      judged.initial = await judge({ off: [], initial: [1] });
      const back = [[...session.tensor("3.weight")], [...session.tensor("0.weight")]];
      const scores = JSON.parse(await session.evaluate(120));
      session.set_changes(JSON.stringify(none));
      const again = await look();
      const now = [[...session.tensor("3.weight")], [...session.tensor("0.weight")]];
      const initial = await engine.Session.create(device, text, settings, train, val, undefined, () => {});
      await initial.look(val.pixels(0), 0);
      const start = [...initial.tensor("3.weight")];

      const refusals = [];
      for (const work of [
        () => session.terms(NORM, 0),
        () => session.terms(FIRST, 8),
        () => session.cell(FIRST, 0, 13, 0),
        () => session.affine(FIRST, 0),
        () => session.set_changes(JSON.stringify({ off: [[RELU, 8]], initial: [] })),
        () => session.set_changes(JSON.stringify({ off: [[0, 0]], initial: [] })),
        () => session.set_changes(JSON.stringify({ off: [], initial: [3] })),
        () => engine.first_blocks("{", 1),
      ]) {
        try {
          await work();
          refusals.push("");
        } catch (error) {
          refusals.push(error.message);
        }
      }
      const fewer = [1, 2, 3].map((count) => JSON.parse(engine.describe(engine.first_blocks(text, count))));
      const off = [0, FIRST, RELU, POOL].map((value) => session.can_switch_off(value));
      return { looked, taken, affine, pair, judged, silent, back, now, start, scores, again, refusals, fewer, off };
    },
    [architecture, { FIRST, NORM, RELU, DEPTHWISE, THIRD, POOL }],
  );
});

after(async () => {
  await browser?.close();
  server?.close();
});

const sum = (numbers) => numbers.reduce((a, b) => a + b, 0);
const close = (a, b, what) => assert.ok(Math.abs(a - b) < 1e-5 * (1 + Math.abs(b)), `${what}: ${a} and ${b}`);

test("what input channels add is the convolution", () => {
  for (const [key, { bias, inputs, maps, filters, cell, output }] of Object.entries(found.taken)) {
    const [value, channel, row, column] = key.split(" ").map(Number);
    assert.deepEqual(inputs, value === DEPTHWISE ? [channel] : inputs.map((_, at) => at), key);
    assert.equal(inputs.length, { [FIRST]: 3, [DEPTHWISE]: 1, [THIRD]: 8 }[value]);
    const area = maps.length / inputs.length;
    const side = Math.sqrt(area);
    for (let at = 0; at < area; at++) {
      const terms = inputs.map((_, input) => maps[input * area + at]);
      close(sum(terms) + bias, output[channel * area + at], `${key}, ${at}`);
    }
    assert.deepEqual(cell.inputs, inputs);
    assert.deepEqual(cell.weights.map(Math.fround), filters);
    cell.products.forEach((product, at) => close(product, cell.values[at] * cell.weights[at], `${key}, product ${at}`));
    cell.sums.forEach((of, at) => close(of, maps[at * area + row * side + column], `${key}, input ${at}`));
    close(sum(cell.sums) + cell.bias, cell.sum, key);
    close(cell.output, cell.sum, key);
  }
  const corner = found.taken[`${DEPTHWISE} 6 0 0`].cell;
  assert.deepEqual(corner.start, [-1, -1]);
  assert.deepEqual([0, 1, 2, 3, 6].map((at) => corner.values[at]), [0, 0, 0, 0, 0], "padding");
  assert.deepEqual(found.taken[`${FIRST} 0 7 3`].cell.start, [14, 6]);
});

test("a batch norm is a factor and an offset", () => {
  const [factor, offset] = found.affine;
  const [before, after] = found.pair;
  for (let at = 3 * 169; at < 4 * 169; at++) {
    close(after[at], factor * before[at] + offset, at);
  }
});

test("exponentials and their sum make the probabilities", () => {
  const { exponentials, logits, probabilities } = found.looked;
  exponentials.forEach((exponential, at) => {
    close(exponential, Math.exp(logits[at] - Math.max(...logits)), at);
    close(exponential / sum(exponentials), probabilities[at], at);
  });
});

test("changes cost what they cost, and training knows nothing of them", () => {
  const { none, one, all, initial } = found.judged;
  for (const judged of [none, one, all, initial]) {
    const { images, before, after, drop, low, high } = judged;
    assert.equal(images, 120);
    close(drop, 100 * (before - after), JSON.stringify(judged));
    assert.ok(low <= drop && drop <= high && judged.conclusive, JSON.stringify(judged));
  }
  assert.ok(none.drop === 0 && none.before === one.before && none.before === all.before);
  assert.ok(none.before > 0.5, `${none.before} right`);
  // Without anything to go by it names one class.
  assert.ok(initial.drop > 10, JSON.stringify(initial));
  assert.ok(all.after <= 0.15 && all.verdict === "in_use", JSON.stringify(all));
  assert.equal(none.verdict, "undecided", "120 images do not show that less than a point is lost");
  assert.ok(found.silent.slice(2 * 169, 3 * 169).every((value) => value === 0));
  assert.ok(found.silent.slice(3 * 169).some((value) => value !== 0));
  close(found.scores.accuracy, none.before, "training's own network");
  assert.equal(found.scores.standing, "better");
  assert.deepEqual(found.again, found.looked);
  assert.deepEqual(found.back[0], found.start, "the block is at its start");
  assert.deepEqual(found.back[1], found.now[1], "the others are not");
  assert.notDeepEqual(found.now[0], found.start);
});

test("what cannot be is refused in words", () => {
  assert.ok(found.refusals.every((words) => words.length > 10), JSON.stringify(found.refusals));
  assert.deepEqual(found.off, [false, true, true, true]);
  assert.deepEqual(found.fewer.map(({ blocks }) => blocks.length), [1, 2, 3]);
  assert.ok(found.fewer.every(({ classes }) => classes === 10));
});
