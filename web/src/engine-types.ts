// What the engine sends as JSON, and what the page sends to it.

/** The device. */
export interface Adapter {
  name: string;
  /** Whether it is a program on the processor. */
  software: boolean;
  kernels: string;
  subgroups: boolean;
}

/** Channels, height and width. */
export type Shape = [number, number, number];

/** A layer of a described network. */
export interface LayerNode {
  key: string;
  name: string;
  kernel_size?: number;
  stride?: number;
  padding?: number;
  groups?: number;
  inputs: number[];
  /** The number by which `Session.values` knows its output. */
  value: number;
  output: Shape;
  block: number | null;
  /** Whether it changes no number in evaluation. */
  is_view: boolean;
  /** Whether its output can be negative. */
  signed: boolean;
  /** Keys and shapes of its trained tensors. */
  tensors: [string, number[]][];
  multiply_adds: number;
  field: [number, number, number];
}

/** A network in words and numbers. */
export interface Description {
  input: Shape;
  classes: number;
  /** The values that are the outputs of the blocks. */
  blocks: number[];
  nodes: LayerNode[];
  parameters: number;
  multiply_adds: number;
  training_bytes: number;
}

/** What some training steps did. */
export interface Steps {
  step: number;
  epoch: number;
  /** The share of this epoch that is done. */
  progress: number;
  images: number;
  seconds: number;
  loss: number;
  accuracy: number;
  /** Whether a loss was not finite. */
  broken: boolean;
  forward_ms: number | null;
  backward_ms: number | null;
}

export interface Scores {
  images: number;
  loss: number;
  accuracy: number;
  /** Wilson's 95 % interval of the accuracy. */
  interval: [number, number];
  /** What always naming the commonest class gets right. */
  baseline: number;
  /** Whether the network is shown to get more right than that. */
  standing: "better" | "not_shown";
}

export interface Look {
  logits: number[];
  /** e to the power of each logit less the largest: the probabilities before their sum divides them. */
  exponentials: number[];
  probabilities: number[];
}

/** What one number of a convolution's output adds up. Numbers of the window lie channel by channel, row by row. */
export interface Cell {
  /** Its input channels. */
  inputs: number[];
  /** Height and width of the window. */
  kernel: [number, number];
  /** Row and column of the input where the window begins; less than 0 where padding does. */
  start: [number, number];
  values: number[];
  weights: number[];
  products: number[];
  /** The sum of the products of each input channel. */
  sums: number[];
  bias: number;
  /** All products and the bias, added up. */
  sum: number;
  /** What the device made of them. */
  output: number;
}

/** What the network that is looked into has otherwise than the one in training. */
export interface Changes {
  /** Channels that are 0: a value and a channel each. */
  off: [value: number, channel: number][];
  /** Blocks, counted from 0, whose weights are untrained. */
  initial: number[];
}

/** What changes cost, on validation images that both networks were given. */
export interface Judged {
  images: number;
  /** Accuracies. Where blocks went back to their start, both networks have running statistics that were estimated anew. */
  before: number;
  after: number;
  /** Loss of accuracy in percentage points, and its 95 % interval. */
  drop: number;
  low: number;
  high: number;
  /** What follows: more than a point is lost, less than a point is lost, or neither is shown. */
  verdict: "in_use" | "not_missed" | "undecided";
  /** Whether the network, before the changes, was shown to do better than always naming the commonest class. */
  conclusive: boolean;
}

/** What a decision is made of, in logits. */
export interface Decision {
  /** The predicted class, and the runner-up. */
  target: number;
  against: number;
  /** Whether shares and bias add up to the difference, or hold to first order only. */
  exact: boolean;
  logit_difference: number;
  bias: number;
  /** Of the last block's channels, the largest share first. */
  channels: { index: number; share: number }[];
  residual: number;
  /** Whether values of the map below 0 speak against the predicted class. */
  signed: boolean;
  /** Rank correlation of the map with that of random weights; null where one of them is the same everywhere. */
  similarity: number | null;
  dependence: "differs" | "same_as_untrained" | "too_few_values" | "control_empty" | "constant";
}

/** How images become the numbers that a network takes. */
export interface Preparation {
  normalize: string;
  /** Pixels that an image's shorter side is scaled to before the middle square is cut out; without it, the side of the square. */
  resize_crop?: number;
}

/** What a file of weights says of itself. */
export interface WeightsMeta {
  spec: Architecture;
  classes: string[];
  /** How images are prepared for it; where it does not say, as usual. */
  preparation?: Preparation;
  epoch: number;
  drawn: boolean;
}

export const layerTypes = [
  "Conv2d",
  "BatchNorm2d",
  "ReLU",
  "MaxPool2d",
  "AvgPool2d",
  "AdaptiveAvgPool2d",
  "Dropout",
  "Dropout2d",
  "Flatten",
  "Linear",
] as const;
export type LayerType = (typeof layerTypes)[number];

/** A layer as the engine reads it, in PyTorch's terms. What is not said has PyTorch's default. */
export interface LayerSpec {
  type: LayerType;
  name?: string;
  out_channels?: number;
  kernel_size?: number;
  stride?: number;
  padding?: number;
  groups?: number;
  bias?: boolean;
  p?: number;
  output_size?: number;
  out_features?: number;
}

/** A list of layers, or another description of a network that comes from a file and that the page hands on as it is. */
export interface Architecture {
  input: Shape;
  layers?: LayerSpec[];
  [option: string]: unknown;
}

export type OptimizerSettings =
  | { name: "adam"; weight_decay: number }
  | { name: "sgd"; momentum: number; weight_decay: number };
