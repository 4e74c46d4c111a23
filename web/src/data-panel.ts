// Which images: drawn ones, or the visitor's own.

import { ImageSet } from "../pkg/convscope_web.js";
import { byId, count, many, setText } from "./dom";
import type { Architecture } from "./engine-types";
import { described, fitted, smallLayers } from "./network";
import { OwnPanel, type Weights, cutOut } from "./own-panel";
import { type Data, type DataKind, on, say } from "./state";
import { complain, trainer } from "./training";

/** Sizes in pixels, and numbers of training and validation images. */
const drawnSets = {
  pets: { size: 64, train: 1000, val: 200 },
  digits: { size: 28, train: 2000, val: 300 } };
/** The seed of drawn images: whatever else changes, they stay. */
const IMAGE_SEED = 0;

/** Drawn images, of their usual size or another one. */
export function drawnData(kind: "pets" | "digits", side?: number): Data {
  const { size: usual, train, val } = drawnSets[kind];
  const size = side ?? usual;
  const set = (images: number, validation: boolean) => ImageSet.drawn(kind, IMAGE_SEED, images, size, validation);
  const training = set(train, false);
  return { kind, size, classes: training.classes, train: training, val: set(val, true) };
}

/** Makes a session for other images, with the network of now where it can be. */
export async function useData(data: Data, weights?: Weights): Promise<boolean> {
  const now = trainer.request ? (JSON.parse(trainer.request.architecture) as Architecture) : null;
  let network = fitted(weights?.network ?? now ?? { input: [3, 64, 64], layers: smallLayers }, data.size, data.classes.length);
  let description;
  let note = "";
  try {
    description = described(network);
  } catch (error) {
    if (weights) {
      throw error;
    }
    network = fitted({ input: [3, 64, 64], layers: smallLayers }, data.size, data.classes.length);
    description = described(network);
    note = "The network before does not fit these images, so the small one is taken.";
  }
  const made = await trainer.make({ data, architecture: JSON.stringify(network), description, ...(weights && { weights: weights.file }) });
  if (made) {
    say(note);
  }
  return made;
}

class DataPanel {
  #hint = byId("data-hint", HTMLElement);
  #own = new OwnPanel(useData);
  #radios: Record<DataKind, HTMLInputElement> = {
    pets: byId("data-pets", HTMLInputElement),
    digits: byId("data-digits", HTMLInputElement),
    own: byId("data-own", HTMLInputElement) };

  constructor() {
    for (const kind of ["pets", "digits"] as const) {
      this.#radios[kind].addEventListener("change", () => {
        this.#own.hide();
        this.#use(drawnData(kind));
      });
    }
    this.#radios.own.addEventListener("change", () => {
      this.#own.show();
      setText(this.#hint, "Images of two or more classes, which stay on this device.");
    });
    let last: Data | null = null;
    on("made", ({ data }) => {
      // Who collects images must not lose sight of them by a reset.
      if (data !== last) {
        last = data;
        this.#radios[data.kind].checked = true;
        if (data.kind === "own") {
          this.#own.show();
        } else {
          this.#own.hide();
        }
      }
      const { size, classes, train, val } = data;
      const of = classes.length <= 4 ? classes.join(", ") : `${classes.length} classes`;
      setText(
        this.#hint,
        `${count(train.length)} training images and ${many(val.length, "validation image")} of ${size} \u00d7 ${size} pixels: ${of}.${cutOut(size, train.resize_crop)}`,
      );
    });
  }

  /** Asks for the visitor's own images of these classes, for a network that a file holds. */
  ask(classes: string[], size: number, weights: Weights): void {
    this.#radios.own.checked = true;
    this.#own.ask(classes, size, weights);
  }

  #use(data: Data): void {
    useData(data).catch((error: unknown) => complain(error));
  }
}

let panel: DataPanel | null = null;

export function startDataPanel(): void {
  panel = new DataPanel();
}

export function askForImages(classes: string[], size: number, weights: Weights): void {
  panel?.ask(classes, size, weights);
}
