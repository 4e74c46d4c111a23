// The same network in each library: what a contestant gets, and how it takes a step.
//
// A contestant is `async (work) => step`, and `step(images, labels)` takes one training step on a batch: images are (N, 3, S, S) in a
// Float32Array, labels (N) in a Uint32Array. It returns a promise of the loss where `wanted`, else of when it has been handed to the device.
// Network: Conv2d(3, 8, 3, stride 2), ReLU, Conv2d(8, 16, 3, stride 2), ReLU, Flatten, Linear(.., 10); SGD with momentum 0.9.

import * as jax from "@jax-js/jax";
import * as tf from "@tensorflow/tfjs";
import { setWasmPaths } from "@tensorflow/tfjs-backend-wasm";
import "@tensorflow/tfjs-backend-webgpu";
import convnetjs from "convnetjs";

const CLASSES = 10;
const MOMENTUM = 0.9;
const CHANNELS = [8, 16];
const after = (side) => Math.floor((side - 3) / 2) + 1;

/** As PyTorch starts: uniform between -1/sqrt(fan_in) and 1/sqrt(fan_in). */
function start(length, fanIn) {
  const bound = 1 / Math.sqrt(fanIn);
  return Float32Array.from({ length }, () => (2 * Math.random() - 1) * bound);
}

function shapes(size) {
  const last = after(after(size)) ** 2 * CHANNELS[1];
  return [
    [[CHANNELS[0], 3, 3, 3], 27],
    [[CHANNELS[0]], 27],
    [[CHANNELS[1], CHANNELS[0], 3, 3], 9 * CHANNELS[0]],
    [[CHANNELS[1]], 9 * CHANNELS[0]],
    [[last, CLASSES], last],
    [[CLASSES], last],
  ].map(([shape, fanIn]) => ({ shape, values: start(shape.reduce((a, b) => a * b, 1), fanIn) }));
}

function jaxOn(device) {
  return async ({ size, batch, lr }) => {
    const found = await jax.init(device);
    if (!found.includes(device)) throw new Error(`jax-js has no ${device} here`);
    jax.defaultDevice(device);
    const { numpy: np, lax, nn, tree } = jax;
    const loss = ([w1, b1, w2, b2, w3, b3], x, y) => {
      const conv = (h, w, b) => nn.relu(lax.conv(h, w, [2, 2], "VALID").add(b.reshape([1, -1, 1, 1])));
      const h = conv(conv(x, w1, b1), w2, b2).reshape([batch, -1]);
      return nn.logSoftmax(np.matmul(h, w3).add(b3)).mul(y).sum().mul(-1 / batch);
    };
    const update = jax.jit((params, velocity, x, y) => {
      const [value, gradients] = jax.valueAndGrad(loss)(tree.ref(params), x, y);
      const moved = velocity.map((v, i) => v.mul(MOMENTUM).add(gradients[i]));
      return [params.map((p, i) => p.sub(moved[i].ref.mul(lr))), moved, value];
    });
    const initial = shapes(size);
    let params = initial.map(({ shape, values }) => np.array(values).reshape(shape));
    let velocity = initial.map(({ shape }) => np.zeros(shape));
    return async (images, labels, wanted) => {
      const hot = new Float32Array(batch * CLASSES);
      labels.forEach((label, image) => (hot[image * CLASSES + label] = 1));
      const x = np.array(images).reshape([batch, 3, size, size]);
      const y = np.array(hot).reshape([batch, CLASSES]);
      let value;
      [params, velocity, value] = update(params, velocity, x, y);
      if (wanted) return (await value.data())[0];
      value.dispose();
      return undefined;
    };
  };
}

function tensorflowOn(backend) {
  return async ({ size, batch, lr }) => {
    setWasmPaths("/bench/wasm/");
    if (!(await tf.setBackend(backend))) throw new Error(`TensorFlow.js has no ${backend} here`);
    await tf.ready();
    const layer = (filters, more) =>
      tf.layers.conv2d({ filters, kernelSize: 3, strides: 2, activation: "relu", ...more });
    const layers = [
      layer(CHANNELS[0], { inputShape: [size, size, 3] }),
      layer(CHANNELS[1], {}),
      tf.layers.flatten(),
      tf.layers.dense({ units: CLASSES }),
    ];
    const model = tf.sequential({ layers });
    const optimizer = tf.train.momentum(lr, MOMENTUM);
    return async (images, labels, wanted) => {
      // What TensorFlow.js likes best: channels last. The order of the numbers does not matter for the speed.
      const value = optimizer.minimize(
        () => {
          const x = tf.tensor4d(images, [batch, size, size, 3]);
          const y = tf.oneHot(tf.tensor1d(Int32Array.from(labels), "int32"), CLASSES);
          return tf.losses.softmaxCrossEntropy(y, model.apply(x));
        },
        wanted,
      );
      if (!wanted) return undefined;
      const [found] = await value.data();
      value.dispose();
      return found;
    };
  };
}

async function convnet({ size, batch, lr }) {
  const net = new convnetjs.Net();
  const conv = (filters) => ({ type: "conv", sx: 3, filters, stride: 2, pad: 0, activation: "relu" });
  net.makeLayers([
    { type: "input", out_sx: size, out_sy: size, out_depth: 3 },
    conv(CHANNELS[0]),
    conv(CHANNELS[1]),
    { type: "softmax", num_classes: CLASSES },
  ]);
  const trainer = new convnetjs.SGDTrainer(net, { learning_rate: lr, momentum: MOMENTUM, batch_size: batch, l2_decay: 0 });
  const volume = new convnetjs.Vol(size, size, 3, 0);
  return async (images, labels) => {
    const each = 3 * size * size;
    let sum = 0;
    labels.forEach((label, image) => {
      volume.w.set(images.subarray(image * each, (image + 1) * each));
      sum += trainer.train(volume, label).cost_loss;
    });
    return sum / batch;
  };
}

export const PEERS = {
  "jax-js, WebGPU": jaxOn("webgpu"),
  "jax-js, wasm": jaxOn("wasm"),
  "TensorFlow.js, WebGPU": tensorflowOn("webgpu"),
  "TensorFlow.js, wasm": tensorflowOn("wasm"),
  "TensorFlow.js, CPU": tensorflowOn("cpu"),
  "ConvNetJS": convnet,
};
