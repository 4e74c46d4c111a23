// The three questions, and dropout that changes while the weights stay.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, before, test } from "node:test";
import { launch, number, open, reached, serve } from "./browser.mjs";

let browser, server, page;
const seen = { errors: [], requests: new Set() };

before(async () => {
  server = await serve();
  browser = await launch();
  page = await open(browser, server, seen, { query: "?data=digits" });
});

after(async () => {
  await browser?.close();
  server?.close();
});

const cells = (id) =>
  page.$$eval(`#${id}-rows tr`, (rows) => rows.map((row) => [...row.children].map((cell) => cell.textContent)));
const numbers = (text) => text.replaceAll("\u2212", "-").match(/-?[0-9.]+/g).map(Number);
const says = (selector, words) =>
  page.waitForFunction(([at, words]) => new RegExp(words).test(document.querySelector(at).textContent), [selector, words], { timeout: 60000 });
const pastStep = (step) =>
  page.waitForFunction((step) => Number(document.querySelector("#read-step").textContent.replace(/\D/g, "")) >= step, step, { timeout: 60000 });
const ended = (id) =>
  page.waitForFunction((id) => {
    const button = document.querySelector(`#${id}-work button`);
    return button.textContent !== "Stop" && !button.disabled;
  }, id);
const predicted = () => page.textContent(".flow-column.end .bars");

/** The tensors of the network in training, byte by byte. */
async function tensors() {
  const [download] = await Promise.all([page.waitForEvent("download"), page.click("#save")]);
  const file = readFileSync(await download.path());
  return file.subarray(8 + Number(file.readBigUInt64LE(0)));
}

/** What is said of the blocks: maps, pixels, and for the strongest value its cell and the rows and columns that it sees. */
const blocks = () =>
  page.$$eval("#coarse-blocks li", (items) =>
    items.map((item) => {
      const [map, image] = [...item.querySelectorAll("canvas")].map((canvas) => canvas.getAttribute("aria-label"));
      const outline = item.querySelectorAll(".outline")[1].style;
      return { text: item.textContent.replaceAll("\u00a0", " "), map, image, left: parseFloat(outline.left), width: parseFloat(outline.width) };
    }),
  );

/** Compares that with [cells, size, stride, offset] of each block, reckoned by hand. */
async function seesAsReckoned(reckoned, side) {
  await page.waitForFunction(() => [...document.querySelectorAll("#coarse-blocks canvas")].every((canvas) => canvas.ariaLabel));
  const found = await blocks();
  assert.equal(found.length, reckoned.length);
  found.forEach(({ text, map, image, left, width }, at) => {
    const [count, size, stride, offset] = reckoned[at];
    assert.match(text, new RegExp(`maps of ${count} × ${count}One`));
    assert.match(text, new RegExp(`${size} × ${size} of ${side} × ${side} pixels`));
    const share = numbers(text.split("pixels, ")[1])[0];
    assert.ok(Math.abs(share - (100 * size * size) / (side * side)) <= 0.5, text);
    const [, row, column] = numbers(map);
    const span = (cell) => [Math.max(0, cell * stride - offset), Math.min(side, cell * stride - offset + size) - 1];
    assert.deepEqual(numbers(image), [...span(row), ...span(column)], `${map}: ${image}`);
    assert.ok(Math.abs(left - (100 * (column * stride - offset)) / side) < 0.01 && Math.abs(width - (100 * size) / side) < 0.01);
  });
}

test("the questions are tabs that keys choose", async () => {
  await page.click('.intro a[href="#tour"]');
  assert.equal(await page.evaluate(() => location.hash), "#tour");
  const shown = () => page.$$eval("[role=tabpanel]", (panels) => panels.filter((panel) => !panel.hidden).map(({ id }) => id));
  await page.focus("#coarse-tab");
  for (const [key, id] of [["ArrowRight", "useless"], ["ArrowRight", "enough"], ["ArrowRight", "coarse"], ["ArrowLeft", "enough"], ["Home", "coarse"], ["End", "enough"]]) {
    await page.keyboard.press(key);
    assert.deepEqual(await shown(), [id], key);
    assert.equal(await page.evaluate(() => document.activeElement.id), `${id}-tab`);
    assert.equal(await page.locator("#tour-tabs [aria-selected=true]").getAttribute("aria-controls"), id);
    assert.equal(await page.locator('#tour-tabs [tabindex="0"], #tour-tabs [role=tab]:not([tabindex])').count(), 1);
  }
});

test("what one value sees of the image is what the layers say", async () => {
  await page.click("#coarse-tab");
  await seesAsReckoned([[13, 3, 2, 0], [6, 7, 4, 0], [2, 15, 8, 0]], 28);
  const [first, image] = [JSON.stringify(await blocks()), await page.$eval("#coarse-blocks canvas", (canvas) => canvas.toDataURL())];
  await page.click("#next-image");
  await page.waitForFunction((image) => document.querySelector("#coarse-blocks canvas").toDataURL() !== image, image);
  assert.notEqual(JSON.stringify(await blocks()), first);
});

test("blocks go back to their start one at a time, and all is as before", async () => {
  await page.click("#useless-tab");
  await says("#useless-standing", "not shown");
  await page.click("#useless-standing button");
  await reached(page, "training");
  await pastStep(70);
  await page.click("#useless-work button");
  await says("#useless-work", "At step");
  const step = numbers((await page.textContent("#useless-work")).replaceAll(",", ""))[0];
  const rows = await cells("useless");
  assert.equal(rows.length, 3);
  let most = 0;
  for (const [block, [name, accuracy, lost, verdict]] of rows.entries()) {
    assert.equal(name, String(block + 1));
    const [before, after] = numbers(accuracy);
    const [drop, low, high] = numbers(lost.replace("to", " "));
    assert.equal(before, numbers(rows[0][1])[0]);
    assert.ok(Math.abs(before - after - drop) < 0.11, `${accuracy}, ${lost}`);
    assert.ok(low <= drop && drop <= high, lost);
    most = Math.max(most, drop);
    assert.match(verdict, /in use|not missed|undecided|nothing follows/);
  }
  assert.ok(most > 10, "no block is in use");
  // It ran before, so it goes on.
  await reached(page, "training");
  await pastStep(step + 1);
  await page.click("#start");
  await reached(page, "ready");

  await page.click("#useless-work button");
  await page.click("#useless-work button");
  await ended("useless");
  assert.match(await page.textContent("#useless-work"), /Stopped/);
  assert.ok((await cells("useless")).some(([, accuracy]) => accuracy === "\u2013"));
  assert.equal(await page.evaluate(() => document.documentElement.dataset.state), "ready");

  // Another batch size keeps the weights, and untrained ones are untrained as before.
  await page.fill("#batch", "16");
  await page.locator("#batch").blur();
  await says("#message", "batch size is 16");
  await page.click("#useless-work button");
  await ended("useless");
  const drops = (await cells("useless")).map(([, , lost]) => numbers(lost)[0]);
  assert.ok(Math.max(...drops) > 10, `after another batch size: ${drops}`);

  // By now the image was looked at as training left it.
  const sure = await predicted();
  const look = page.locator("#useless-rows button").last();
  await look.click();
  await page.waitForFunction((sure) => document.querySelector(".flow-column.end .bars").textContent !== sure, sure);
  assert.equal(await look.getAttribute("aria-pressed"), "true");
  await look.click();
  await page.waitForFunction((sure) => document.querySelector(".flow-column.end .bars").textContent === sure, sure);
  assert.equal(await look.getAttribute("aria-pressed"), "false");
});

test("networks of fewer blocks are trained beside the one that stays", async () => {
  await page.click("#enough-tab");
  const [step, kept] = [await number(page, "#read-step"), await tensors()];
  assert.equal(await page.inputValue("#enough-steps"), String(Math.max(200, step)));
  assert.match(await page.textContent("#enough-time"), /About [0-9]+ (second|minute)s? for 3 networks/);
  const go = page.locator("#enough-work button");
  await page.fill("#enough-steps", "25");
  await go.click();
  await says("#enough-work", "Each trained for 25 steps");
  const rows = await cells("enough");
  assert.deepEqual(rows.map(([name]) => name), ["1", "2", "3"]);
  const bars = await page.$$eval("#enough-rows .fill", (fills) => fills.map((fill) => parseFloat(fill.style.width)));
  for (const [at, [, , accuracy, speed]] of rows.entries()) {
    const [share, low, high] = numbers(accuracy);
    assert.ok(low < share && share < high && Math.abs(share - bars[at]) < 0.06, `${accuracy}, ${bars[at]}`);
    assert.ok(numbers(speed)[0] > 0);
  }
  // 3 -> 8 -> 16 -> 32 channels with batch norm, and 10 classes.
  const weights = (...channels) => channels.reduce((sum, made, at) => sum + made * (9 * (channels[at - 1] ?? 3) + 2), 11 * channels.at(-1)) - channels.at(-1) + 10;
  assert.deepEqual(rows.map(([, parameters]) => numbers(parameters.replace(",", ""))[0]), [weights(8), weights(8, 16), weights(8, 16, 32)]);
  assert.match(await page.textContent("#enough-answer"), /no proof|None was shown/);

  // Stopped in the middle, what is done stays.
  await page.fill("#enough-steps", "40");
  await go.click();
  await page.waitForFunction(() => document.querySelectorAll("#enough-rows tr").length === 2, undefined, { timeout: 60000 });
  await go.click();
  await ended("enough");
  const left = await cells("enough");
  assert.equal(left.length, 2);
  assert.equal(numbers(left[0][2]).length, 3);
  assert.match(left[1].join(), /stopped/);

  assert.equal(await number(page, "#read-step"), step);
  assert.deepEqual(await tensors(), kept, "the network in training is another one");
});

test("dropout changes while training, and the weights stay", async () => {
  await page.selectOption("#preset", "lenet5");
  await page.click("#row-8");
  await page.click("#add-8");
  await page.selectOption("#type-9", "Dropout");
  assert.match(await page.textContent("#apply-hint"), /new weights/);
  await page.click("#apply");
  await says("#message", "new network");
  await page.click("#coarse-tab");
  await seesAsReckoned([[14, 6, 2, 2], [5, 16, 4, 2]], 28);
  assert.equal(await page.textContent("#enough-rows"), "", "results of another network");
  await page.click("#one-step");
  await page.waitForFunction(() => document.querySelector("#read-step").textContent === "1");
  const kept = await tensors();
  const p = page.locator("#p-9");
  await p.fill("0.4");
  await p.blur();
  await says("#message", "Dropout is 0.4 now");
  assert.equal(await number(page, "#read-step"), 1);
  assert.deepEqual(await tensors(), kept, "other weights");

  await page.click("#start");
  await pastStep(4);
  await page.click("#undo");
  await says("#message", "Dropout is 0.2 now");
  await reached(page, "training");
  const step = await number(page, "#read-step");
  assert.ok(step >= 4, `step ${step}`);
  await pastStep(step + 1);
  assert.match(await page.textContent("#row-9"), /Dropout0.2/);
  await page.click("#start");
  await reached(page, "ready");
});

test("nothing was wrong on the console", () => assert.deepEqual(seen.errors, []));
