// In the page: measures one contestant.

import { PEERS } from "./peers.mjs";

function batches({ size, batch }, count) {
  const shade = (place) => Math.sin(12.9898 * place);
  return Array.from({ length: count }, (_, number) => ({
    images: Float32Array.from({ length: batch * 3 * size * size }, (_, place) => shade(place + 977 * number)),
    labels: Uint32Array.from({ length: batch }, (_, image) => (image + number) % 10),
  }));
}

window.peers = Object.keys(PEERS);

/** Milliseconds of a step, over `steps` of which only the last one's loss is waited for, and that loss. */
window.measure = async (name, work) => {
  const data = batches(work, 4);
  const take = await PEERS[name](work);
  for (let step = 0; step < work.warmUp; step++) {
    const { images, labels } = data[step % 4];
    await take(images, labels, true);
  }
  const started = performance.now();
  let loss;
  for (let step = 0; step < work.steps; step++) {
    const { images, labels } = data[step % 4];
    loss = await take(images, labels, step === work.steps - 1);
  }
  return { ms: (performance.now() - started) / work.steps, loss };
};

/** The same of the page's engine, which makes its batches of images itself. */
window.measureOurs = async ({ size, batch, lr, warmUp, steps }) => {
  const engine = await import(`${location.origin}/pkg/convscope_web.js`);
  await engine.default({ module_or_path: "/dist/engine.wasm" });
  const device = await engine.Engine.open();
  const conv = (out_channels) => ({ type: "Conv2d", out_channels, kernel_size: 3, stride: 2 });
  const layers = [conv(8), { type: "ReLU" }, conv(16), { type: "ReLU" }, { type: "Flatten" }, { type: "Linear", out_features: 10 }];
  const optimizer = { name: "sgd", momentum: 0.9, weight_decay: 0 };
  const settings = JSON.stringify({ batch, seed: 1, augment: false, optimizer });
  const [train, val] = [false, true].map((validation) => engine.ImageSet.drawn("digits", 1, 4 * batch, size, validation));
  const text = JSON.stringify({ input: [3, size, size], layers });
  const session = await engine.Session.create(device, text, settings, train, val, undefined, () => {});
  await session.train(lr, warmUp, 1e9, false);
  const started = performance.now();
  const { loss } = JSON.parse(await session.train(lr, steps, 1e9, false));
  return { ms: (performance.now() - started) / steps, loss, kernels: JSON.parse(device.adapter()).kernels };
};

document.documentElement.dataset.ready = "yes";
