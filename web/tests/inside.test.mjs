// Looking inside one map, and from logits to probabilities: what is shown must add up.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { after, before, test } from "node:test";
import { launch, open, reached, serve } from "./browser.mjs";

let browser, server, page;
/** Cells whose colour told their sign. */
let coloured = 0;
const seen = { errors: [], requests: new Set() };

before(async () => {
  server = await serve();
  browser = await launch();
  // One page for all: compiling its kernels takes longest.
  page = await open(browser, server, seen, { query: "?data=digits", reducedMotion: "reduce" });
});

after(async () => {
  await browser?.close();
  server?.close();
});

/** A shown number. */
const number = (text) => Number(text.replaceAll("\u2212", "-").replaceAll(/[^-0-9.e]/g, ""));

/** Numbers with signs that stand apart: "0.1 − 0.2 (bias)". */
const summands = (text) => [...text.replace(/\([^)]*\)/g, "").replaceAll("\u2212", "-").matchAll(/[+-]? ?[0-9.]+(e-?[0-9]+)?/g)].map(([part]) => Number(part.replaceAll(" ", "")));

/** By what share a shown number can be off: of small ones, two digits are shown. */
const slack = (shown) => (Math.abs(shown) < 1e-3 ? 0.051 : 0.0051);

/** Whether numbers are equal but for the digits that are not shown of what was added up. */
function near(one, other, of, what) {
  const most = [one, ...of].reduce((sum, part) => sum + Math.abs(part) * slack(part), 1e-9);
  assert.ok(Math.abs(one - other) <= most, `${what}: ${one} and ${other}, from ${of}`);
}

const sum = (numbers) => numbers.reduce((all, part) => all + part, 0);

/** Waits for an answer that fits the cell, and reads all that is shown of it. */
async function shown() {
  await page.waitForFunction(() => document.querySelector("#inside-equation dd") && document.querySelector("#inside").ariaBusy === "false");
  return page.evaluate(() => {
    const box = (element) => {
      const { left, top, width, height } = element.style;
      return element.hidden ? null : [left, top, width, height].map(parseFloat);
    };
    // The colour of the cell on the map of what the channel adds.
    const pixel = (term) => {
      const [map, outline] = term.querySelector(".outlined:last-child").children;
      const [left, top] = box(outline).map((part, at) => Math.round((part * [map.width, map.height][at % 2]) / 100));
      const [red, , blue] = map.getContext("2d").getImageData(left, top, 1, 1).data;
      return red - blue;
    };
    return {
      place: document.querySelector("#inside-place").textContent,
      words: document.querySelector("#inside-words").textContent,
      field: box(document.querySelector(".flow-column.input .outline")),
      lines: [...document.querySelectorAll("#inside-equation dt")].map((name) => [name.textContent, name.nextSibling.textContent]),
      errors: [...document.querySelectorAll("#inside .error")].map((error) => error.textContent),
      terms: [...document.querySelectorAll(".term")].map((term) => ({
        name: term.querySelector("b").textContent,
        window: box(term.querySelector(".outline")),
        sum: term.querySelector("caption b").textContent,
        colour: pixel(term),
        cells: [...term.querySelectorAll("td")].map((cell) => ({ text: cell.innerText, isPadding: cell.className === "padding" })),
      })),
    };
  });
}

/** Checks that all numbers of a cell add up, and returns what was shown. */
async function addsUp() {
  const found = await shown();
  const { terms, lines, errors } = found;
  assert.deepEqual(errors, []);
  const sums = terms.map(({ name, sum: shownSum, cells, colour }) => {
    const products = cells.map(({ text, isPadding }) => {
      const [value, weight, product] = text.split("\n");
      assert.equal(value === "padding", isPadding);
      const exact = isPadding ? 0 : number(value) * number(weight);
      const most = Math.abs(exact) * (slack(number(value)) + slack(number(weight)) + slack(number(product)));
      assert.ok(Math.abs(number(product) - exact) <= most + 1e-12, `${name}: ${text}`);
      return number(product);
    });
    near(number(shownSum), sum(products), products, name);
    // Red is more than 0, blue is less; next to 0 all is white.
    if (Math.abs(colour) > 8) {
      assert.equal(colour > 0, number(shownSum) > 0, `${name}: ${shownSum} in ${colour}`);
      coloured++;
    }
    return number(shownSum);
  });
  const [[base, equation], ...then] = lines;
  assert.equal(base, "Conv2d");
  const [left, right] = equation.split(" = ");
  // The sum has room for eight channels, however many are shown below it.
  const said = sums.slice(0, 8).map((part) => part.toFixed(6));
  assert.deepEqual(summands(left).slice(0, said.length).map((part) => part.toFixed(6)), said);
  near(number(right), sum(summands(left)), summands(left), equation);
  let before = number(right);
  for (const [name, words] of then) {
    if (name === "BatchNorm2d") {
      const [from, factor, offset] = summands(words.split(" = ")[0].replace("\u00d7", ""));
      assert.equal(from, before);
      const value = number(words.split(" = ")[1]);
      near(value, from * factor + offset, [from * factor, offset], words);
      before = value;
    } else {
      assert.equal(name, "ReLU");
      assert.equal(number(words.split(": ")[1]), Math.max(0, before), words);
    }
  }
  return found;
}

/** A safetensors file with numbers from 0.5 to 1.5, and with the SHA-256 of what it says. */
function weights(meta, tensors) {
  const header = {};
  const numbers = [];
  for (const [key, shape] of tensors) {
    const from = numbers.length * 4;
    numbers.push(...Array.from({ length: shape.reduce((all, side) => all * side) }, (_, at) => 1 + 0.5 * Math.sin(at * at + from)));
    header[key] = { dtype: "F32", shape, data_offsets: [from, numbers.length * 4] };
  }
  const data = Buffer.from(Float32Array.from(numbers).buffer);
  const size = (bytes) => {
    const size = Buffer.alloc(8);
    size.writeBigUInt64LE(BigInt(bytes.length));
    return size;
  };
  const about = JSON.stringify(meta);
  const parts = [Buffer.from(about)];
  for (const key of Object.keys(header).sort()) {
    const { dtype, shape, data_offsets } = header[key];
    parts.push(Buffer.from(key), Buffer.from(`${dtype} [${shape.join(", ")}]`), data.subarray(...data_offsets));
  }
  const digest = createHash("sha256");
  for (const part of parts) {
    digest.update(size(part)).update(part);
  }
  header.__metadata__ = { convscope: `${about.slice(0, -1)},"sha256":"${digest.digest("hex")}"}` };
  const text = Buffer.from(JSON.stringify(header));
  return Buffer.concat([size(text), text, data]);
}

const spans = (words) => words.match(/\d+/g).map(Number);

test("a map is taken apart by the keyboard alone", async () => {
  await page.click("#one-step");
  await page.waitForFunction(() => document.querySelector("#read-step").textContent === "1");
  assert.ok(await page.isHidden("#inside"));
  const tile = page.locator(".flow-column").nth(2).locator(".tile").nth(1);
  await tile.focus();
  await page.keyboard.press("Enter");
  await page.waitForSelector("#inside:not([hidden])");
  assert.equal(await tile.getAttribute("aria-pressed"), "true");
  assert.equal(await page.locator("#flow path.into").count(), 4);
  let found = await addsUp();
  assert.equal(found.place, "ReLU of block 2, channel 1");
  assert.deepEqual(found.terms.map(({ name }) => name), Array.from({ length: 8 }, (_, at) => `channel ${at}`));
  assert.deepEqual(found.lines.map(([name]) => name), ["Conv2d", "BatchNorm2d", "ReLU"]);

  // 28 pixels, then 13 cells, then 6, by filters of 3 x 3 and strides of 2: a cell sees 3 x 3 cells, and 7 x 7 pixels.
  const cell = async ([row, column]) => {
    found = await addsUp();
    assert.deepEqual(spans(found.words), [row, column, 4 * row, 4 * row + 6, 4 * column, 4 * column + 6]);
    [4 * column, 4 * row, 7, 7].forEach((part, at) => assert.ok(Math.abs((found.field[at] * 28) / 100 - part) < 1e-3, `${found.field}`));
    for (const { window } of found.terms) {
      [2 * column, 2 * row, 3, 3].forEach((part, at) => assert.ok(Math.abs((window[at] * 13) / 100 - part) < 1e-3, `${window}`));
    }
  };
  await cell([3, 3]);
  await page.locator("#inside .cells").first().focus();
  for (const key of ["ArrowUp", "ArrowLeft", "ArrowLeft"]) {
    await page.keyboard.press(key);
  }
  await cell([2, 1]);
  for (let press = 0; press < 8; press++) {
    await page.keyboard.press("ArrowDown");
  }
  await cell([5, 1]);

  // Channels that the flow has no room for take the place of its last.
  await page.focus("#inside-next");
  for (let press = 0; press < 4; press++) {
    await page.keyboard.press("Enter");
  }
  found = await addsUp();
  assert.equal(found.place, "ReLU of block 2, channel 5");
  assert.deepEqual(spans(found.words).slice(0, 2), [5, 1]);
  const pressed = page.locator('.tile[aria-pressed="true"]');
  assert.match(await pressed.getAttribute("aria-label"), /channel 5/);
  await page.keyboard.press("Escape");
  assert.ok(await page.isHidden("#inside"));
  assert.equal(await pressed.count(), 0);
  assert.equal((await page.evaluate(() => document.querySelector(".flow-column.input .outline").hidden)), true);
  assert.ok(await tile.evaluate((tile) => tile === document.activeElement));

  // Of many channels those that add most come first.
  await page.locator(".flow-column").nth(3).locator(".tile").first().click();
  await page.waitForFunction(() => document.querySelectorAll(".term").length === 8);
  found = await addsUp();
  assert.match(found.lines[0][1], /\(8 more\)/);
  await page.click("#inside-all");
  await page.waitForFunction(() => document.querySelectorAll(".term").length === 16);
  const all = await addsUp();
  assert.deepEqual(all.terms.slice(0, 8).map(({ name }) => name), found.terms.map(({ name }) => name));
  assert.equal(new Set(all.terms.map(({ name }) => name)).size, 16);
  await page.click('.tile[aria-pressed="true"]');
  assert.ok(await page.isHidden("#inside"));
});

test("a map that is chosen while another is read is the one that is shown", async () => {
  for (const wait of [0, 5, 10, 20]) {
    await page.evaluate(async (wait) => {
      const [first, then] = [3, 1].map((column) => document.querySelectorAll(".flow-column")[column].querySelector(".tile"));
      first.click();
      await new Promise((resolve) => setTimeout(resolve, wait));
      then.click();
    }, wait);
    const { place, terms } = await addsUp();
    assert.equal(place, "ReLU of block 1, channel 0");
    assert.equal(terms.length, 3);
    await page.click("#inside-close");
  }
  assert.equal(await page.locator("#message.bad").count(), 0, await page.textContent("#message"));
});

test("logits become probabilities that add up", async () => {
  await page.focus("#how");
  await page.keyboard.press("Enter");
  await page.waitForSelector("#softmax:not([hidden]) tbody tr");
  assert.equal(await page.getAttribute("#how", "aria-expanded"), "true");
  const read = () => page.$$eval("#softmax-rows tr", (rows) => rows.map((row) => [...row.children].slice(0, 4).map((cell) => cell.textContent)));
  const rows = await read();
  const [classes, total] = [rows.slice(0, -1), rows.at(-1)];
  assert.equal(classes.length, 10);
  const largest = number(await page.textContent("#softmax-largest"));
  const divisor = number(await page.textContent("#softmax-sum"));
  for (const [name, logit, exponential, probability] of classes) {
    near(number(exponential), Math.exp(number(logit) - largest), [number(exponential)], name);
    near(number(probability), (100 * number(exponential)) / divisor, [10], name);
  }
  const exponentials = classes.map((row) => number(row[2]));
  near(divisor, sum(exponentials), exponentials, "the sum");
  assert.deepEqual([number(total[2]), total[3]], [divisor, "100.0%"]);
  const text = await page.textContent("#softmax-rows");
  await page.click("#next-image");
  await page.waitForFunction((text) => document.querySelector("#softmax-rows").textContent !== text, text);
  assert.notDeepEqual(await read(), rows);
  await page.focus("#softmax-close");
  await page.keyboard.press("Enter");
  assert.ok(await page.isHidden("#softmax"));
  assert.equal(await page.getAttribute("#how", "aria-expanded"), "false");
  assert.ok(await page.evaluate(() => document.activeElement.id === "how"));
});

test("it follows the image and training, and a channel can be switched off", async () => {
  await page.setViewportSize({ width: 390, height: 900 });
  await page.locator(".flow-column").nth(1).locator(".tile").nth(1).click();
  const first = await addsUp();
  const label = await page.getAttribute(".chain canvas", "aria-label");
  await page.click("#next-image");
  await page.waitForFunction((label) => document.querySelector(".chain canvas").ariaLabel !== label, label);
  const second = await addsUp();
  assert.notDeepEqual(second.terms, first.terms);
  assert.equal(second.words, first.words);
  await page.click("#start");
  await page.waitForFunction(() => Number(document.querySelector("#read-step").textContent) > 8);
  await page.click("#start");
  await reached(page, "ready");
  await page.waitForFunction((lines) => document.querySelector("#inside-equation").textContent !== lines, second.lines.flat().join(""));
  await page.waitForTimeout(500);
  const trained = await addsUp();
  assert.notDeepEqual(trained.lines, second.lines);
  const [inner, outer] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
  assert.ok(inner <= outer, `${inner} pixels wide on ${outer}`);

  assert.ok(await page.isHidden("#inside-judge"));
  await page.click("#why-ask");
  await page.waitForSelector("#why-result .why-maps", { timeout: 60000 });
  await page.click("#inside-off");
  await page.waitForFunction(() => /is off/.test(document.querySelector("#inside-state").textContent));
  await page.waitForFunction(() => document.querySelector("#inside-chain figure:last-child").textContent.endsWith("0 to 0"));
  assert.equal(await page.textContent("#why-result"), "", "an explanation of the network without changes");
  await addsUp();
  await page.click("#inside-judge");
  await page.waitForFunction(() => /interval/.test(document.querySelector("#inside-cost").textContent), undefined, { timeout: 60000 });
  const words = await page.textContent("#inside-cost");
  const [step, before, after, images, change, low, high] = words.replaceAll("\u2212", "-").replace("95%", "").match(/-?[0-9.]+/g).map(Number);
  const lost = words.includes("gained") ? -change : change;
  assert.deepEqual([step, images], [await number(await page.textContent("#read-step")), 200]);
  assert.ok(Math.abs(before - after - lost) < 0.11 && low <= lost && lost <= high, words);
  assert.match(words, /nothing follows|in use|not missed|undecided/);
  await page.click("#inside-off");
  await page.waitForFunction(() => document.querySelector("#inside-state").textContent === "");
  assert.equal(await page.textContent("#inside-cost"), "");
  await page.click("#inside-close");
  assert.ok(await page.isHidden("#inside"));
});

test("padding, bias and pooling", async () => {
  await page.setViewportSize({ width: 1440, height: 900 });
  await page.selectOption("#preset", "lenet5");
  await page.click("#apply");
  await page.waitForFunction(() => document.querySelector("#rows").textContent.includes("MaxPool2d") && document.querySelector("#apply").disabled);
  await reached(page, "ready");
  await page.locator(".flow-column").nth(1).locator(".tile").nth(2).click();
  await addsUp();
  const names = await page.locator("#inside-chain b").allTextContents();
  assert.deepEqual(names, ["Conv2d", "ReLU", "MaxPool2d"]);
  assert.equal(await page.locator("#inside .cells").count(), 2, "cells of a pooled map are not those of the convolution");

  // The pointer: the first cell, whose window of 5 x 5 reaches two rows and columns into the padding.
  const map = page.locator("#inside-chain canvas").first();
  await map.hover({ position: { x: 4, y: 4 } });
  let found = await addsUp();
  assert.deepEqual(spans(found.words), [0, 0, 0, 2, 0, 2]);
  assert.match(found.words, /padding/);
  assert.deepEqual(found.terms.map(({ name }) => name), ["red channel", "green channel", "blue channel"]);
  assert.match(found.lines[0][1], /\(bias\)/);
  for (const { cells, window } of found.terms) {
    const inside = cells.map(({ isPadding }, at) => (isPadding ? -1 : at)).filter((at) => at >= 0);
    assert.deepEqual(inside, [12, 13, 14, 17, 18, 19, 22, 23, 24]);
    assert.ok(Math.abs((window[0] * 28) / 100 + 2) < 1e-3, `${window}`);
  }
  // A click holds the cell, and another lets it go.
  await map.click({ position: { x: 66, y: 66 } });
  await map.hover({ position: { x: 128, y: 128 } });
  assert.deepEqual(spans((await addsUp()).words), [14, 14, 12, 16, 12, 16]);
  await map.click({ position: { x: 128, y: 128 } });
  found = await addsUp();
  assert.deepEqual(spans(found.words), [27, 27, 25, 27, 25, 27]);
  assert.equal(found.terms[0].cells.filter(({ isPadding }) => isPadding).length, 16);
});

test("branches that are added up, in a network that is opened", async () => {
  // Before the card is open, so that the other network finds it open.
  await page.locator(".flow-column").nth(1).locator(".tile").first().click();
  const conv = { type: "Conv2d", out_channels: 4, kernel_size: 3, padding: 1, bias: false };
  const branch = [conv, { type: "BatchNorm2d" }, { type: "ReLU" }, { ...conv, groups: 4 }, { type: "BatchNorm2d" }];
  const ends = [{ type: "AdaptiveAvgPool2d", output_size: 1 }, { type: "Flatten" }, { type: "Linear", out_features: 10 }];
  const layers = [{ ...conv, stride: 2 }, { type: "ReLU" }, { type: "Residual", layers: branch }, { type: "ReLU" }, ...ends];
  const classes = Array.from("0123456789");
  const norm = (key) => ["weight", "bias", "running_mean", "running_var"].map((name) => [`${key}.${name}`, [4]]);
  const filters = [["0", 3], ["2.0", 4], ["2.3", 1]].map(([key, inputs]) => [`${key}.weight`, [4, inputs, 3, 3]]);
  const tensors = [...filters, ...norm("2.1"), ...norm("2.4"), ["6.weight", [10, 4]], ["6.bias", [10]]];
  const file = weights({ spec: { input: [3, 28, 28], layers }, classes, epoch: 0, drawn: true }, tensors);
  await page.setInputFiles("#open", { name: "w.safetensors", mimeType: "", buffer: file });
  await page.waitForFunction(() => document.querySelector("#layer-list").textContent.includes("Add"));
  await reached(page, "ready");
  await page.locator(".flow-column").nth(2).locator(".tile").nth(1).click();
  await page.waitForFunction(() => document.querySelectorAll(".term").length === 2);
  assert.match(await page.textContent("#inside-place"), /block 2, channel 1/);
  assert.match(await page.textContent("#inside-terms-title"), /added up/);
  const names = await page.locator(".term p > b").allTextContents();
  assert.match(names.join(), /BatchNorm2d.*ReLU|ReLU.*BatchNorm2d/);
  assert.deepEqual(await page.locator("#inside-chain b").allTextContents(), ["Add", "ReLU"]);
  assert.ok(await page.isHidden(".inside-cell"));
  assert.equal(await page.locator(".cells").count(), 0);

  // From the list of every layer, one whose filters read a single channel each.
  const grouped = page.locator("#layer-list .layer").filter({ hasText: "4 groups" }).locator("canvas").first();
  await grouped.click({ position: { x: 70, y: 20 } });
  await page.waitForFunction(() => /^Conv2d/.test(document.querySelector("#inside-place").textContent));
  const found = await addsUp();
  assert.match(found.place, /channel 1$/);
  assert.deepEqual(found.terms.map(({ name }) => name), ["channel 1"]);
});

test("a network whose first layer is a view of the image closes the map", async () => {
  await page.locator("#layer-list .layer").first().locator("canvas").first().click({ position: { x: 20, y: 20 } });
  await page.waitForFunction(() => /^Conv2d of block 1/.test(document.querySelector("#inside-place").textContent));
  await page.selectOption("#preset", "small");
  await page.click("#row-0");
  await page.click("#add-0");
  await page.selectOption("#type-1", "Dropout2d");
  await page.click("#up-1");
  await page.click("#apply");
  await page.waitForSelector("#inside", { state: "hidden" });
  await page.waitForFunction(() => /new network/.test(document.querySelector("#message").textContent));
  assert.equal(await page.locator("#message.bad").count(), 0, await page.textContent("#message"));
});

test("nothing was wrong on the console", () => {
  assert.deepEqual(seen.errors, []);
  assert.ok(coloured > 50, `${coloured} cells with a colour`);
});
