// The page itself, as a visitor uses it: clicks, keys, drops.

import assert from "node:assert/strict";
import { mkdtempSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { launch, number, open, prepared, reached, read, serve, web } from "./browser.mjs";

let browser, server, page;
const seen = { errors: [], requests: new Set() };

before(async () => {
  server = await serve();
  browser = await launch();
  // One page for most tests: compiling its kernels takes longest.
  page = await visit({ query: "?data=digits", colorScheme: "light" });
});

after(async () => {
  await browser?.close();
  server?.close();
});

const visit = (options) => open(browser, server, seen, options);

/** Colours that a canvas shows. */
const colours = (canvas) =>
  canvas.evaluate((canvas) => {
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    return new Set(new Uint32Array(data.buffer)).size;
  });

/** Begins anew and makes a step. */
async function oneStep(page) {
  await page.click("#reset");
  await page.waitForFunction(() => document.querySelector("#read-step").textContent === "0");
  await page.click("#one-step");
  await page.waitForFunction(() => document.querySelector("#read-step").textContent === "1");
}

test("it trains, shows every layer, pauses and resets", async () => {
  await page.click("#one-step");
  await page.waitForFunction(() => document.querySelector("#read-step").textContent === "1");
  await reached(page, "ready");

  // By the keyboard alone.
  await page.focus("#start");
  await page.keyboard.press("Space");
  await reached(page, "training");
  await page.waitForFunction(() => Number(document.querySelector("#read-step").textContent.replace(/\D/g, "")) > 20);
  await page.waitForFunction(() => /[0-9]/.test(document.querySelector("#read-accuracy").textContent));
  await page.keyboard.press("Space");
  await reached(page, "ready");
  // What was handed to the device is still done.
  await page.waitForTimeout(1000);
  const step = await number(page, "#read-step");
  assert.ok((await number(page, "#read-speed")) > 0);
  assert.ok((await number(page, "#read-forward")) > 0);
  assert.match(await page.getAttribute("#loss-chart", "aria-label"), /[0-9]/);

  await page.check("#show-weights");
  await page.waitForTimeout(1000);
  const maps = await page.locator("#layer-list canvas").all();
  assert.ok(maps.length >= 10, `${maps.length} drawings of layers`);
  const many = await Promise.all(maps.slice(0, 40).map(colours));
  assert.ok(many.filter((count) => count > 1).length > many.length / 2, `colours: ${many}`);
  assert.equal(await page.locator("#predictions > li").count(), 12);
  assert.equal(await number(page, "#read-step"), step, "paused, and yet it went on");

  // Why: shares that add up, and maps beside those of random weights.
  for (const method of ["hi_res_cam", "occlusion"]) {
    await page.selectOption("#why-method", method);
    await page.click("#why-ask");
    await page.waitForFunction(() => !document.querySelector("#why-ask").disabled, undefined, { timeout: 120000 });
    const text = await page.textContent("#why-result");
    assert.match(text, /add up to the decision exactly/);
    assert.match(text, /[Rr]andom weights/);
    const drawn = await Promise.all((await page.locator(".why-maps canvas").all()).map(colours));
    assert.ok(drawn.length === 2 && drawn.every((count) => count > 3), `colours: ${drawn}`);
  }
  if (process.env.SCREENSHOTS) {
    await page.screenshot({ path: join(process.env.SCREENSHOTS, "page-trained.png"), fullPage: true });
  }
  await page.click("#next-image");
  assert.equal(await page.textContent("#why-result"), "", "an explanation of another image");

  // By keyboard and by pointer, something is drawn on the image, and the layers see it.
  const image = page.locator(".flow-column.input canvas");
  const verdict = (words) => page.waitForFunction((words) => document.querySelector(".verdict").textContent.includes(words), words);
  const shown = () => image.evaluate((canvas) => canvas.toDataURL());
  const before = await shown();
  await page.click("#draw");
  await image.press("ArrowRight");
  await image.press("Space");
  await verdict("drawn on");
  const dab = await shown();
  assert.notEqual(dab, before);
  const { x, y, width } = await image.boundingBox();
  await page.mouse.move(x + 0.2 * width, y + 0.2 * width);
  await page.mouse.down();
  await page.mouse.move(x + 0.8 * width, y + 0.5 * width, { steps: 3 });
  await page.mouse.up();
  assert.notEqual(await shown(), dab);
  const white = await image.evaluate((canvas) => {
    const { data } = canvas.getContext("2d").getImageData(0.5 * canvas.width, 0.35 * canvas.height, 1, 1);
    return [...data];
  });
  assert.deepEqual(white, [255, 255, 255, 255], "between the ends of the stroke");
  await page.click("#draw-undo");
  assert.equal(await shown(), dab);
  await page.click("#draw-clear");
  await page.waitForFunction(() => !document.querySelector(".verdict").textContent.includes("drawn on"));
  assert.equal(await shown(), before);
  await page.click("#draw");

  await page.click("#reset");
  await page.waitForFunction(() => document.querySelector("#read-step").textContent === "0");
});

test("the theme can be chosen", async () => {
  const ground = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const [first, seen] = [await ground(), new Set()];
  for (let click = 0; click < 3; click++) {
    seen.add(await ground());
    await page.click("#theme");
  }
  assert.equal(seen.size, 2, [...seen].join());
  assert.equal(await ground(), first);
});

test("a network that cannot be is told, and the one that is goes on", async () => {
  const rows = await page.locator("#rows > li").count();
  assert.ok(rows > 3);
  await page.locator("#rows .layer-row").first().click();
  const kernel = page.locator('#rows .editor input[type="number"]').nth(1);
  const before = await kernel.inputValue();
  await kernel.fill("99");
  await kernel.blur();
  const told = page.locator("#rows .error:visible, #network-error:visible");
  await told.first().waitFor();
  assert.match(await told.first().textContent(), /Conv2d|kernel|99/);
  assert.equal(await page.isEnabled("#apply"), false);
  await oneStep(page);
  await kernel.fill(before);
  await kernel.blur();
  await told.first().waitFor({ state: "hidden" });
});

test("weights are saved, and open again", async () => {
  await oneStep(page);
  const [download] = await Promise.all([page.waitForEvent("download"), page.click("#save")]);
  const file = join(mkdtempSync(join(tmpdir(), "convscope-")), "w.safetensors");
  await download.saveAs(file);
  assert.equal(download.suggestedFilename(), "convscope.safetensors");
  assert.match(readFileSync(file).subarray(0, 4000).toString("latin1"), /"convscope"/);

  // By drag and drop, where other images are in use.
  await page.check("#data-pets");
  await reached(page, "compiling");
  await reached(page, "ready");
  await drop([{ name: "w.safetensors", bytes: [...readFileSync(file)] }]);
  await page.waitForFunction(() => document.querySelector("#data-digits").checked);
  await reached(page, "ready");
  await drop([{ name: "w.safetensors", bytes: [...Buffer.from("no weights")] }]);
  await page.waitForFunction(() => /safetensors/.test(document.querySelector("#message").textContent));
});

/** Drops files on the page. */
const drop = (files) =>
  page.evaluate((files) => {
    const dataTransfer = new DataTransfer();
    files.forEach(({ name, bytes }) => dataTransfer.items.add(new File([new Uint8Array(bytes)], name)));
    const events = ["dragover", "drop"].map((type) => new DragEvent(type, { dataTransfer, bubbles: true, cancelable: true }));
    events.forEach((event) => document.body.dispatchEvent(event));
  }, files);

test("own images are learned from", async () => {
  await page.check("#data-own");
  await page.waitForSelector('#own input[type="file"]', { state: "attached" });
  const images = await page.evaluate(() => {
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [48, 40];
    const context = canvas.getContext("2d");
    return [0, 1].map((kind) =>
      Array.from({ length: 10 }, (_, number) => {
        // Black at the upper and the lower edge.
        context.fillRect(0, 0, 48, 40);
        context.fillStyle = kind ? `hsl(${number * 9}, 80%, 70%)` : `hsl(${200 + number * 9}, 80%, 30%)`;
        context.fillRect(0, 2, 48, 36);
        context.fillStyle = "black";
        return canvas.toDataURL("image/png").split(",")[1];
      }),
    );
  });
  const inputs = page.locator('#own input[type="file"]:not([webkitdirectory])');
  for (const kind of [0, 1]) {
    const files = images[kind].map((image, number) => {
      return { name: `${number}.png`, mimeType: "image/png", buffer: Buffer.from(image, "base64") };
    });
    // An image twice, and what is no image.
    const odd = { name: "notes.txt", mimeType: "text/plain", buffer: Buffer.from("no image") };
    await inputs.nth(kind).setInputFiles([...files, files[0], odd]);
    await page.waitForFunction((kind) => {
      const text = document.querySelector("#own-classes").children[kind].textContent;
      return /10 images/.test(text) && /equal/.test(text);
    }, kind);
  }
  await page.click("#use-own");
  await reached(page, "compiling");
  await reached(page, "ready");
  await oneStep(page);
});

test("own images are prepared as opened weights ask for it", async () => {
  // Of the first image's upper edge.
  const isBlack = (black) =>
    page.waitForFunction((black) => {
      const canvas = document.querySelector(".own-thumbs canvas");
      if (!canvas) {
        return false;
      }
      const { data } = canvas.getContext("2d").getImageData(canvas.width / 2, 0, 1, 1);
      return (Math.max(...data.subarray(0, 3)) < 30) === black;
    }, black);
  const save = async () => {
    const [download] = await Promise.all([page.waitForEvent("download"), page.click("#save")]);
    return readFileSync(await download.path());
  };
  const use = async () => {
    await page.waitForFunction(() => !document.querySelector("#use-own").disabled);
    await page.click("#use-own");
    await reached(page, "compiling");
    await reached(page, "ready");
  };
  await isBlack(true);
  const before = await save();
  const imagenet = { normalize: "imagenet", resize_crop: 80 };
  // The images of now were prepared otherwise, so they are taken anew.
  await drop([{ name: "w.safetensors", bytes: [...prepared(before, imagenet)] }]);
  await isBlack(false);
  assert.match(await page.textContent("#own-hint"), /scaled to 80 pixels, and the middle 64/);
  assert.doesNotMatch(await page.textContent("#data-hint"), /scaled/);
  await use();
  assert.match(await page.textContent("#data-hint"), /scaled to 80 pixels, and the middle 64/);
  await page.click("#one-step");
  await page.waitForFunction(() => document.querySelector("#read-step").textContent === "1");
  const trained = await save();
  assert.deepEqual(read(trained).about.preparation, imagenet);
  // These images are prepared as the file asks for it, so it opens at once.
  await drop([{ name: "w.safetensors", bytes: [...trained] }]);
  await page.waitForFunction(() => /w.safetensors is open/.test(document.querySelector("#message").textContent));
  assert.deepEqual(read(await save()).about.preparation, imagenet);

  // Without such weights it is the whole square again.
  assert.doesNotMatch(await page.textContent("#own-hint"), /scaled/);
  await use();
  await isBlack(true);
  assert.doesNotMatch(await page.textContent("#data-hint"), /scaled/);
  assert.equal(read(await save()).about.preparation, undefined);
  // Or in another size.
  await drop([{ name: "w.safetensors", bytes: [...trained] }]);
  await isBlack(false);
  await page.selectOption("#own-size", "32");
  await isBlack(true);
  assert.doesNotMatch(await page.textContent("#own-hint"), /scaled/);
  await drop([{ name: "w.safetensors", bytes: [...prepared(trained, { normalize: "half", resize_crop: 63 })] }]);
  await page.waitForFunction(() => /resize_crop 63: expected 64 to 16384/.test(document.querySelector("#message").textContent));
});

for (const colorScheme of ["light", "dark"]) {
  for (const width of [1440, 900, 390]) {
    test(`it fits ${width} pixels, ${colorScheme}`, async () => {
      await page.emulateMedia({ colorScheme });
      await page.setViewportSize({ width, height: 900 });
      // With a map opened, which has the widest tables.
      if (!(await page.isVisible("#inside"))) {
        await page.locator("#flow button:has(canvas)").first().click();
      }
      await page.waitForFunction(() => document.querySelector("#inside").ariaBusy === "false" && document.querySelector("#inside-equation dd"));
      await page.waitForTimeout(300);
      const [inner, outer] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
      assert.ok(inner <= outer, `${inner} pixels wide on ${outer}`);
      const ground = await page.evaluate(() => getComputedStyle(document.body).backgroundColor);
      const light = ground.match(/[0-9.]+/g).slice(0, 3).reduce((sum, part) => sum + Number(part), 0);
      assert.equal(light > 380, colorScheme === "light", ground);
      const nameless = await page.evaluate(() => {
        const named = (e) =>
          e.getAttribute("aria-label") || e.getAttribute("aria-labelledby") || e.textContent.trim() || e.labels?.length || e.title;
        const all = document.querySelectorAll("button, select, input, canvas[role=img]");
        return [...all].filter((element) => !named(element)).map((element) => element.outerHTML.slice(0, 90));
      });
      assert.deepEqual(nameless, []);
      if (process.env.SCREENSHOTS) {
        const path = join(process.env.SCREENSHOTS, `page-${width}-${colorScheme}.png`);
        await page.screenshot({ path, fullPage: true });
      }
    });
  }
}

test("without WebGPU it says what to do", async () => {
  const plain = await launch({ webgpu: false });
  const page = await plain.newPage();
  await page.goto(`${server.address}/dist/index.html`);
  await reached(page, "no-webgpu");
  assert.ok(await page.isVisible("#no-webgpu"));
  assert.equal(await page.isVisible("#start"), false);
  await plain.close();
});

test("nothing was wrong on the console, and no request left the page", () => {
  assert.deepEqual(seen.errors, []);
  assert.deepEqual([...seen.requests].filter((origin) => origin !== server.address && origin !== "null"), []);
  assert.ok(readFileSync(join(web, "dist", "app.js")).length < 120_000);
});
