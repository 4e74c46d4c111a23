// The engine in a browser makes what the program makes of the same training: losses, weights, and every layer's values and gradients.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { launch, native, prepared, read, serve } from "./browser.mjs";

let browser, server, page;

before(async () => {
  server = await serve();
  browser = await launch();
  page = await browser.newPage();
  await page.goto(`${server.address}/tests/empty.html`);
});

after(async () => {
  await browser?.close();
  server?.close();
});

/** Does in the browser what examples/page.rs does. */
function train([architecture, subject]) {
  return (async () => {
    const engine = await import("/pkg/convscope_web.js");
    await engine.default({ module_or_path: "/dist/engine.wasm" });
    const device = await engine.Engine.open();
    const size = architecture.input[1];
    const train = engine.ImageSet.drawn(subject, 3, 37, size, false);
    const val = engine.ImageSet.drawn(subject, 3, 1, size, true);
    const optimizer = { name: "sgd", momentum: 0.9, weight_decay: 0 };
    const settings = JSON.stringify({ batch: 8, seed: 3, augment: true, optimizer });
    const text = JSON.stringify(architecture);
    const told = [];
    const compiling = (done, all) => told.push([done, all]);
    const session = await engine.Session.create(device, text, settings, train, val, undefined, compiling);
    const losses = [];
    for (let step = 0; step < 5; step++) {
      losses.push(JSON.parse(await session.train(0.02, 1, 1e9, step === 2)).loss);
    }
    const { logits, probabilities } = JSON.parse(await session.look(val.pixels(0), val.label(0)));
    const description = JSON.parse(engine.describe(text));
    const [values, gradients, weights] = [{}, {}, {}];
    for (let value = 0; value <= description.nodes.length; value++) {
      values[value] = [...(await session.values(value))];
      gradients[value] = [...(await session.gradients(value))];
    }
    for (const node of description.nodes) {
      for (const [key] of node.tensors) {
        weights[key] = [...session.tensor(key)];
      }
    }
    const predicted = [...(await session.predict([0]))];
    const scores = JSON.parse(await session.evaluate(1));

    // A saved file goes on where it was.
    const file = await session.save();
    const about = JSON.parse(engine.describe_weights(file));
    const again = await engine.Session.create(device, JSON.stringify(about.spec), settings, train, val, file, compiling);
    const reopened = JSON.parse(await again.look(val.pixels(0), val.label(0))).logits;
    const found = { losses, logits, values, gradients, weights };
    return { ...found, probabilities, predicted, scores, reopened, about, told };
  })();
}

/** The largest difference, as a share of the largest number. */
function difference(found, expected) {
  assert.equal(found.length, expected.length);
  const largest = Math.max(...expected.map(Math.abs));
  const most = Math.max(...found.map((value, place) => Math.abs(value - expected[place])));
  assert.ok(found.every(Number.isFinite));
  return most === 0 ? 0 : most / largest;
}

/**
 * Makes a session in the browser, of images that are drawn or else the visitor's own, scaled to `own` pixels; it starts from a file, and makes as many
 * steps as are told. What it saves then, and the first training images: as they are shown, and as the network gets them.
 */
function work([architecture, own, file, steps]) {
  return (async () => {
    const engine = await import("/pkg/convscope_web.js");
    await engine.default({ module_or_path: "/dist/engine.wasm" });
    const device = await engine.Engine.open();
    const size = architecture.input[1];
    const sets = () => {
      if (own === null) {
        return [false, true].map((last) => engine.ImageSet.drawn("digits", 3, 20, size, last));
      }
      // Images without symmetry, of which the first is that of the program's own tests.
      const images = new engine.OwnImages(size, ["a", "b"], own);
      const [width, height] = [23, 17];
      for (let number = 0; number < 10; number++) {
        const rgba = new Uint8Array(width * height * 4);
        for (let place = 0; place < rgba.length; place++) {
          const [x, y, c] = [(place >> 2) % width, Math.floor((place >> 2) / width), place % 4];
          rgba[place] = c === 3 ? 255 : (x * 37 + y * 91 + c * 53 + x * y * 5 + number * 11) % 256;
        }
        images.add(images.square(rgba, width, height), number % 2);
      }
      return [images.set(false), images.set(true)];
    };
    const [train, val] = sets();
    const settings = JSON.stringify({ batch: 8, seed: 3, augment: false, optimizer: { name: "adam", weight_decay: 0 } });
    const text = JSON.stringify(architecture);
    const session = await engine.Session.create(device, text, settings, train, val, file && new Uint8Array(file), () => {});
    const images = [];
    for (let index = 0; index < train.length; index++) {
      await session.look(train.pixels(index), 0);
      images.push({ pixels: [...train.pixels(index)], numbers: [...(await session.values(0))] });
    }
    if (steps > 0) {
      await session.train(0.01, steps, 1e9, false);
    }
    return { saved: [...(await session.save())], images };
  })();
}

const conv = (out_channels, others) => ({ type: "Conv2d", out_channels, kernel_size: 3, ...others });
const NETWORKS = {
  "digits, with and without batch norm, max pooling and dropout": [
    {
      input: [3, 28, 28],
      layers: [
        conv(8, { stride: 2, bias: false }),
        { type: "BatchNorm2d" },
        { type: "ReLU" },
        { type: "MaxPool2d", kernel_size: 2 },
        conv(12, { padding: 1 }),
        { type: "ReLU" },
        { type: "Dropout", p: 0.25 },
        { type: "Flatten" },
        { type: "Linear", out_features: 10 },
      ],
    },
    "digits",
  ],
  "pets, blocks of strided convolutions": [
    {
      input: [3, 64, 64],
      layers: [
        ...[8, 16, 32].flatMap((channels) => [
          conv(channels, { stride: 2, bias: false }),
          { type: "BatchNorm2d" },
          { type: "ReLU" },
          { type: "Dropout2d", p: 0.1 },
        ]),
        { type: "AdaptiveAvgPool2d", output_size: 1 },
        { type: "Flatten" },
        { type: "Linear", out_features: 16 },
        { type: "Linear", out_features: 2 },
      ],
    },
    "pets",
  ],
};

// Sums are added up in another order there: 3e-5 was the most that was seen.
const TOLERANCE = 3e-4;

for (const [name, [architecture, subject]] of Object.entries(NETWORKS)) {
  test(name, async () => {
    const expected = native(architecture, subject);
    const found = await page.evaluate(train, [architecture, subject]);
    const seen = {};
    const compare = (what, a, b) => {
      seen[what] = difference(a, b);
    };
    compare("losses", found.losses, expected.losses);
    compare("logits", found.logits, expected.logits);
    for (const kind of ["values", "gradients"]) {
      assert.deepEqual(Object.keys(found[kind]), Object.keys(expected[kind]));
      for (const value of Object.keys(expected[kind])) {
        compare(`${kind} ${value}`, found[kind][value], expected[kind][value]);
      }
    }
    for (const key of Object.keys(found.weights)) {
      compare(key, found.weights[key], expected.weights[key]);
    }
    const [worst, most] = Object.entries(seen).reduce((a, b) => (b[1] > a[1] ? b : a));
    console.log(`  the largest difference is ${most.toExponential(1)} of the largest number, in ${worst}`);
    assert.ok(most < TOLERANCE, `${worst}: ${most}`);

    assert.ok(difference(found.predicted, found.probabilities) < 1e-6);
    assert.equal(found.scores.images, 1);
    assert.equal(found.scores.baseline, 1);
    assert.ok(found.scores.interval[0] <= found.scores.accuracy && found.scores.accuracy <= found.scores.interval[1]);
    const label = subject === "pets" ? 0 : 6;
    assert.ok(Math.abs(found.scores.loss + Math.log(found.probabilities[label])) < 1e-5);
    assert.deepEqual(found.reopened, found.logits);
    assert.equal(found.about.drawn, true);
    assert.deepEqual(found.told.at(-1), [found.told.at(-1)[1], found.told.at(-1)[1]]);
  });
}

test("another optimiser starts anew, and a saved network counts on", async () => {
  const [architecture, subject] = NETWORKS["digits, with and without batch norm, max pooling and dropout"];
  const found = await page.evaluate(async ([architecture, subject]) => {
    const engine = await import("/pkg/convscope_web.js");
    const device = await engine.Engine.open();
    const [train, val] = [false, true].map((validation) => engine.ImageSet.drawn(subject, 3, 40, 28, validation));
    const adam = { name: "adam", weight_decay: 0 };
    const settings = (optimizer) => JSON.stringify({ batch: 8, seed: 3, augment: false, optimizer });
    const text = JSON.stringify(architecture);
    const sgd = { name: "sgd", momentum: 0.9, weight_decay: 0 };
    const make = (optimizer, file) =>
      engine.Session.create(device, text, settings(optimizer), train, val, file, () => {});
    const session = await make(sgd);
    await session.train(0.01, 20, 1e9, false);
    const before = await session.save();
    session.set_optimizer(JSON.stringify(adam));
    await session.look(val.pixels(0), 0);
    const start = session.tensor("0.weight");
    await session.train(0.001, 1, 1e9, false);
    await session.look(val.pixels(0), 0);
    const moved = Math.max(...session.tensor("0.weight").map((value, place) => Math.abs(value - start[place])));
    const counted = async (bytes) => {
      const view = new DataView(bytes.buffer, bytes.byteOffset);
      const length = Number(view.getBigUint64(0, true));
      const header = JSON.parse(new TextDecoder().decode(bytes.subarray(8, 8 + length)));
      const [at] = header["1.num_batches_tracked"].data_offsets;
      return Number(view.getBigInt64(8 + length + at, true));
    };
    const again = await make(sgd, before);
    await again.train(0.01, 5, 1e9, false);
    const after = await again.save();
    const epochs = [before, after].map((bytes) => JSON.parse(engine.describe_weights(bytes)).epoch);
    return { moved, counts: [await counted(before), await counted(after)], epochs };
  }, [architecture, subject]);
  // Adam's first step from an empty memory moves no weight further than the learning rate.
  assert.ok(found.moved > 0.0005 && found.moved < 0.00101, `moved by ${found.moved}`);
  assert.deepEqual(found.counts, [20, 25]);
  assert.deepEqual(found.epochs, [4, 5]);
});

test("what cannot be is refused in words", async () => {
  const words = await page.evaluate(async () => {
    const engine = await import("/pkg/convscope_web.js");
    const layers = [{ type: "Conv2d", out_channels: 4, kernel_size: 9 }, { type: "Flatten" }];
    const refusal = (work) => {
      try {
        return work();
      } catch (error) {
        return error.message;
      }
    };
    const text = (spec) => JSON.stringify(spec);
    const end = { type: "Linear", out_features: 2 };
    return [
      refusal(() => engine.describe(text({ input: [3, 8, 8], layers: [...layers, end] }))),
      refusal(() => engine.describe(text({ input: [3, 8, 8], layers: [{ type: "Conv3d" }, end] }))),
      refusal(() => engine.describe("{")),
      refusal(() => engine.describe_weights(new Uint8Array([1, 2, 3]))),
      refusal(() => engine.ImageSet.drawn("birds", 0, 1, 8, false)),
      refusal(() => new engine.OwnImages(8, ["a", "b"]).square(new Uint8Array(7), 1, 1)),
      refusal(() => new engine.OwnImages(8, ["a", "b"]).add(new Uint8Array(7), 0)),
      refusal(() => new engine.OwnImages(1, ["a", "b"]).add(new Uint8Array(3), 2)),
      refusal(() => new engine.OwnImages(8, ["a", "b"], 7)),
      refusal(() => new engine.OwnImages(8, ["a", "b"], 16385)),
    ];
  });
  assert.match(words[0], /Conv2d 0/);
  assert.match(words[1], /Conv3d/);
  assert.match(words[3], /safetensors/);
  assert.match(words[4], /birds/);
  assert.match(words[8], /resize_crop 7: expected 8 to 16384/);
  assert.ok(words.every((word) => typeof word === "string" && word.length > 10), JSON.stringify(words));
});

test("own images become squares, and equal ones count once", async () => {
  const found = await page.evaluate(async () => {
    const engine = await import("/pkg/convscope_web.js");
    const own = new engine.OwnImages(4, ["dark", "light"]);
    const image = (width, height, shade, alpha = 255) => {
      const bytes = new Uint8Array(width * height * 4).fill(shade);
      for (let place = 3; place < bytes.length; place += 4) bytes[place] = alpha;
      return [bytes, width, height];
    };
    const add = (of, label) => own.add(own.square(...of), label);
    const added = [add(image(4, 4, 10), 0), add(image(8, 6, 10), 1), add(image(9, 5, 0, 0), 1)];
    for (let shade = 20; shade < 30; shade++) add(image(4, 4, shade), 0);
    const [train, val] = [own.set(false), own.set(true)];
    const pixels = (set) => Array.from({ length: set.length }, (_, index) => [set.label(index), ...set.pixels(index)].join());
    return { added, counts: [own.count(0), own.count(1)], train: pixels(train), val: pixels(val), white: [...pixels(train).find((image) => image.startsWith("1,")).split(",").slice(1).map(Number)] };
  });
  assert.deepEqual(found.added, [true, false, true]);
  assert.deepEqual(found.counts, [11, 1]);
  assert.equal(found.val.length, 2);
  assert.equal(found.train.length, 10);
  assert.ok(found.val.every((image) => !found.train.includes(image)));
  assert.deepEqual(found.white, new Array(48).fill(255));
});

test("a decision is explained", async () => {
  const found = await page.evaluate(async ([architecture, subject]) => {
    const engine = await import("/pkg/convscope_web.js");
    const device = await engine.Engine.open();
    const size = architecture.input[1];
    const [train, val] = [false, true].map((validation) => engine.ImageSet.drawn(subject, 3, 64, size, validation));
    const optimizer = { name: "adam", weight_decay: 0 };
    const settings = JSON.stringify({ batch: 16, seed: 3, augment: false, optimizer });
    const text = JSON.stringify(architecture);
    const session = await engine.Session.create(device, text, settings, train, val, undefined, () => {});
    await session.train(0.01, 12, 1e9, false);
    const { logits } = JSON.parse(await session.look(val.pixels(0), 0));
    let ledger;
    const methods = ["gradient", "integrated_gradients", "occlusion", "hi_res_cam", "grad_cam"];
    const maps = {};
    for (const method of methods) {
      const explanation = await session.explain(val.pixels(0), method);
      ledger = JSON.parse(explanation.found);
      const { similarity, logit_difference, signed } = ledger;
      maps[method] = { map: [...explanation.map], control: [...explanation.control], similarity, logit_difference, signed };
    }
    // Training goes on as if nothing had been asked.
    const again = JSON.parse(await session.look(val.pixels(0), 0)).logits;
    const refused = await session.explain(val.pixels(0), "magic").catch((error) => error.message);
    return { logits, ledger, maps, again, refused };
  }, NETWORKS["pets, blocks of strided convolutions"]);
  const { logits, ledger, maps } = found;
  const difference = logits[ledger.target] - logits[ledger.against];
  const close = (a, b) => assert.ok(Math.abs(a - b) < 1e-5 * (1 + Math.abs(b)), `${a} and ${b}`);
  close(ledger.logit_difference, difference);
  assert.equal(ledger.exact, true);
  const sum = (numbers) => numbers.reduce((a, b) => a + b, 0);
  close(ledger.bias + sum(ledger.channels.map(({ share }) => share)), difference);
  close(ledger.bias + sum(ledger.evidence), difference);
  for (const [method, { map, control, similarity, logit_difference, signed }] of Object.entries(maps)) {
    close(logit_difference, difference);
    assert.equal(map.length, 64 * 64, method);
    assert.equal(control.length, 64 * 64, method);
    assert.ok(map.some((value) => value !== 0), method);
    assert.notDeepEqual(map, control, method);
    assert.ok(signed || map.every((value) => value >= 0), method);
    assert.ok(similarity === null || Math.abs(similarity) <= 1, method);
  }
  // Integrated gradients add up to what the image changes.
  assert.ok(sum(maps.integrated_gradients.map) !== 0);
  assert.deepEqual(found.again, logits);
  assert.match(found.refused, /magic/);
});

test("weights say how the images were scaled that they learned from", async () => {
  const saved = async (...told) => (await page.evaluate(work, told)).saved;
  const said = (file) => read(file).about.preparation;
  const end = { type: "Linear", out_features: 2 };
  const own = { input: [3, 3, 3], layers: [conv(4), { type: "Flatten" }, end] };
  assert.equal(said(await saved(own, undefined, null, 1)), undefined);
  assert.deepEqual(said(await saved(own, 5, null, 0)), { normalize: "half", resize_crop: 5 });
  const imagenet = { normalize: "imagenet", resize_crop: 5 };
  const file = [...prepared(await saved(own, 5, null, 0), imagenet)];
  assert.deepEqual(said(await saved(own, 5, file, 0)), imagenet);
  assert.deepEqual(said(await saved(own, 5, file, 1)), imagenet);
  // Of other images, from when on they are learned from.
  assert.deepEqual(said(await saved(own, undefined, file, 0)), imagenet);
  assert.deepEqual(said(await saved(own, undefined, file, 1)), { normalize: "imagenet" });
  const drawn = { input: [3, 28, 28], layers: [conv(4, { stride: 4 }), { type: "Flatten" }, { ...end, out_features: 10 }] };
  const photos = [...prepared(await saved(drawn, null, null, 0), { normalize: "half", resize_crop: 32 })];
  assert.equal(said(await saved(drawn, null, photos, 1)), undefined);
});

test("own images are scaled and cut as torchvision does it, where weights ask for it", async () => {
  const architecture = { input: [3, 3, 3], layers: [conv(4), { type: "Flatten" }, { type: "Linear", out_features: 2 }] };
  const { saved } = await page.evaluate(work, [architecture, 5, null, 0]);
  const imagenet = [...prepared(saved, { normalize: "imagenet", resize_crop: 5 })];
  const { images } = await page.evaluate(work, [architecture, 5, imagenet, 0]);
  // torchvision's CenterCrop(3)(Resize(5)(image)), as in src/data/fit.rs.
  const torchvision = [
    135, 134, 130, 128, 127, 133, 135, 125, 131, 124, 134, 134, 121, 134, 128, 138, 127, 124, 124, 132, 120, 139, 115, 135, 128, 132, 115,
  ];
  const { numbers } = images.find(({ pixels }) => pixels.join() === torchvision.join());
  const [mean, std] = [[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]];
  numbers.forEach((number, place) => {
    const colour = Math.floor(place / 9);
    const expected = (torchvision[3 * (place % 9) + colour] / 255 - mean[colour]) / std[colour];
    assert.ok(Math.abs(number - expected) < 1e-6, `${place}: ${number} and ${expected}`);
  });
});
