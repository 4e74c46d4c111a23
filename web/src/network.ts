// Networks that the page knows, and how a network is made to fit images and classes.

import { describe } from "../pkg/convscope_web.js";
import type { Architecture, Description, LayerNode, LayerSpec, LayerType } from "./engine-types";
import { layerTypes } from "./engine-types";
import type { Field } from "./state";

const conv = (out_channels: number, kernel_size: number, more: Partial<LayerSpec> = {}): LayerSpec => ({
  type: "Conv2d",
  out_channels,
  kernel_size,
  ...more,
});
const layer = (type: LayerType): LayerSpec => ({ type });
const linear = (out_features: number): LayerSpec => ({ type: "Linear", out_features });
const means: LayerSpec[] = [{ type: "AdaptiveAvgPool2d", output_size: 1 }, layer("Flatten")];
const pool: LayerSpec = { type: "MaxPool2d", kernel_size: 2 };
const normed = (channels: number): LayerSpec[] => [
  conv(channels, 3, { stride: 2, bias: false }),
  layer("BatchNorm2d"),
  layer("ReLU"),
];

export interface Preset {
  id: string;
  name: string;
  layers: LayerSpec[];
}

export const presets: Preset[] = [
  { id: "small", name: "Small: three blocks", layers: [...[8, 16, 32].flatMap(normed), ...means, linear(2)] },
  {
    id: "blocks",
    name: "Five blocks, for 64 px and more",
    layers: [
      ...[16, 32, 64, 128, 256].flatMap((channels) => [...normed(channels), { type: "Dropout2d" as const, p: 0.1 }]),
      ...means,
      linear(32),
      linear(2),
    ],
  },
  {
    id: "lenet5",
    name: "Like LeNet-5, with max pooling",
    layers: [
      conv(6, 5, { padding: 2 }),
      layer("ReLU"),
      pool,
      conv(16, 5),
      layer("ReLU"),
      pool,
      layer("Flatten"),
      linear(120),
      layer("ReLU"),
      linear(84),
      layer("ReLU"),
      linear(2),
    ],
  },
  {
    id: "plain",
    name: "Small, without batch norm",
    layers: [
      ...[8, 16, 32].flatMap((channels) => [conv(channels, 3, { stride: 2 }), layer("ReLU")]),
      ...means,
      linear(2),
    ],
  },
];

export const smallLayers: LayerSpec[] = presets[0]?.layers ?? [];

/** The same network for images of this size and so many classes. */
export function fitted(network: Architecture, size: number, classes: number): Architecture {
  const fit: Architecture = { ...structuredClone(network), input: [3, size, size] };
  const last = fit.layers?.at(-1);
  if (last?.type === "Linear") {
    last.out_features = classes;
  }
  if ("classes" in fit) {
    fit.classes = classes;
  }
  return fit;
}

export function described(network: Architecture): Description {
  return JSON.parse(describe(JSON.stringify(network))) as Description;
}

/** What a value in this row and column of a layer's maps sees of the image. */
export function fieldOf({ field: [size, stride, offset] }: LayerNode, row: number, column: number): Field {
  return { left: column * stride - offset, top: row * stride - offset, width: size, height: size };
}

/** Whether two networks differ in nothing but what share dropout sets to 0, so that the weights of one are the other's. */
export function sameButDropout(one: string, other: string): boolean {
  const rest = (architecture: string) =>
    JSON.stringify(JSON.parse(architecture), (name, value: unknown) => (name === "p" ? undefined : value));
  return one === other || rest(one) === rest(other);
}

/** Whether all of a network can be shown and changed as a plain list of layers. */
export function isList(network: Architecture): network is Architecture & { layers: LayerSpec[] } {
  return network.layers !== undefined && network.layers.every(({ type }) => layerTypes.includes(type));
}

/** The place in the list of which an error speaks. */
export function placeOf(error: string, layers: LayerSpec[]): number | null {
  const byPlace = /layers\[(\d+)\]/.exec(error);
  if (byPlace) {
    return Number(byPlace[1]);
  }
  const byName = /^[A-Z]\w+ ([^\s:]+)/.exec(error)?.[1];
  const named = layers.findIndex(({ name }, place) => (name ?? String(place)) === byName);
  if (named >= 0) {
    return named;
  }
  return error.startsWith("the last layer") && layers.length > 0 ? layers.length - 1 : null;
}
