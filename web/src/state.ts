// What the panels share: the settings, the images and the network that are chosen, and who is told when one changes.

import type { ImageSet } from "../pkg/convscope_web.js";
import type { Changes, Description, OptimizerSettings, Scores, Steps } from "./engine-types";
import type { Looked } from "./lens";

export type Status = "opening" | "compiling" | "ready" | "training" | "no-webgpu" | "lost";

export type DataKind = "pets" | "digits" | "own";

/** Labelled images: those to train on, and others to judge by. */
export interface Data {
  kind: DataKind;
  /** Side of every image, in pixels. */
  size: number;
  classes: string[];
  train: ImageSet;
  val: ImageSet;
}

export interface Settings {
  lr: number;
  optimizer: "adam" | "sgd";
  momentum: number;
  weightDecay: number;
  batch: number;
  augment: boolean;
  seed: number;
}

export const settings: Settings = {
  lr: 0.003,
  optimizer: "adam",
  momentum: 0.9,
  weightDecay: 0,
  batch: 32,
  augment: false,
  seed: 0,
};

export function optimizerSettings(): OptimizerSettings {
  const { optimizer, momentum, weightDecay } = settings;
  return optimizer === "adam"
    ? { name: "adam", weight_decay: weightDecay }
    : { name: "sgd", momentum, weight_decay: weightDecay };
}

/** What a session was made of. */
export interface Made {
  data: Data;
  /** The JSON that the engine was given. */
  architecture: string;
  description: Description;
  /** Whether the curves of the session before go on. */
  goesOn: boolean;
}

export interface Events {
  status: Status;
  /** A session has been made. */
  made: Made;
  /** Kernels: how many are compiled, of how many. */
  compiling: [done: number, all: number];
  steps: Steps;
  scores: Scores & { step: number };
  /** Something the visitor should read; empty where there is nothing any more. */
  message: { text: string; bad: boolean };
  theme: null;
  /** Another image is looked at, or the same one with something drawn on it. */
  subject: null;
  /** What the layers make of the image has been read. */
  looked: Looked;
  /** What is changed in the network that is looked into. */
  changes: Changes;
  /** The map that is looked into; null where none is. */
  map: MapPlace | null;
  /** What part of the image is marked, in pixels of it; null where none is. */
  field: Field | null;
  /** Where the brush is on the image, which is marked instead; null where it is not in use. */
  brush: Field | null;
}

/** One channel of a layer's output. */
export interface MapPlace {
  value: number;
  channel: number;
}

/** A rectangle of an image. It may reach beyond the edges. */
export interface Field {
  left: number;
  top: number;
  width: number;
  height: number;
}

type Listener<T> = (value: T) => void;
const listeners: { [E in keyof Events]?: Listener<Events[E]>[] } = {};

export function on<E extends keyof Events>(event: E, listener: Listener<Events[E]>): void {
  const list: Listener<Events[E]>[] = (listeners[event] ??= []);
  list.push(listener);
}

export function tell<E extends keyof Events>(event: E, value: Events[E]): void {
  const list: Listener<Events[E]>[] | undefined = listeners[event];
  list?.forEach((listener) => {
    try {
      listener(value);
    } catch (error) {
      // The others must hear of it all the same.
      reportError(error);
    }
  });
}

export function say(text: string, bad = false): void {
  tell("message", { text, bad });
}

export function setStatus(status: Status): void {
  document.documentElement.dataset.state = status;
  tell("status", status);
}
