// One image under the lens: which one, and what the layers make of it, read once for all that show it.

import { byId, make } from "./dom";
import type { LayerNode, Look } from "./engine-types";
import { Flow } from "./flow";
import { LayersView } from "./layers-view";
import { drawImage } from "./maps";
import { on, tell } from "./state";
import { type Run, type Viewer, trainer } from "./training";

/** Images to choose from at a time. */
const THUMBNAILS = 8;

/** The image that is looked at. */
export interface Subject {
  /** Which validation image it is. */
  index: number;
  /** Red, green, blue, row by row. */
  rgb: Uint8Array;
  label: number;
  /** Whether something was drawn on it. */
  isDrawnOn: boolean;
}

/** The same, with what the layers make of it, as read from the device. */
export interface Looked extends Look {
  run: Run;
  subject: Subject;
  /** Outputs of layers, (C, H, W), by value. Value 0 is the image as the network gets it. */
  values: Map<number, Float32Array>;
}

class Lens implements Viewer {
  readonly period = 1000;
  #flow = new Flow();
  #layers = new LayersView(() => this.again());
  #thumbnails = byId("thumbnails", HTMLElement);
  #index = 0;
  #first = 0;
  /** The image with what was drawn on it; null where nothing was. */
  #drawn: Uint8Array | null = null;
  /** Whether a reading is asked for and has not begun. */
  #waits = false;
  #wishes: (() => Iterable<number>)[] = [];

  constructor() {
    byId("previous-image", HTMLButtonElement).addEventListener("click", () => this.#move(-1));
    byId("next-image", HTMLButtonElement).addEventListener("click", () => this.#move(1));
    on("made", ({ data, description, goesOn }) => {
      if (!goesOn) {
        this.#index = Math.min(this.#index, data.val.length - 1);
        this.#drawThumbnails();
      }
      this.#flow.build(description, data);
      this.#layers.build(description, data);
      if (!goesOn) {
        this.#take(null);
      }
    });
    on("theme", () => this.#layers.drawLegends());
    window.addEventListener("resize", () => {
      this.#flow.connect();
    });
  }

  #move(by: number): void {
    const length = trainer.run?.data.val.length ?? 1;
    this.#choose((this.#index + by + length) % length);
  }

  #choose(index: number): void {
    this.#index = index;
    this.#drawThumbnails();
    this.draw(null);
  }

  /** The image that is looked at. */
  subject({ data }: Run): Subject {
    const index = this.#index;
    const rgb = this.#drawn ?? data.val.pixels(index);
    return { index, rgb, label: data.val.label(index), isDrawnOn: this.#drawn !== null };
  }

  /** Looks at the chosen image with something drawn on it, or at the image itself. */
  draw(rgb: Uint8Array | null): void {
    this.#take(rgb);
    this.again();
  }

  #take(rgb: Uint8Array | null): void {
    const run = trainer.run;
    this.#drawn = rgb;
    if (run) {
      // At once, and not only when the layers have answered.
      this.#flow.show(this.subject(run), run.data);
      tell("subject", null);
    }
  }

  /** The canvas that shows it. */
  get image(): HTMLCanvasElement {
    return this.#flow.image;
  }

  /** Asks for values that are to be read whenever the image is looked at. */
  wish(wish: () => Iterable<number>): void {
    this.#wishes.push(wish);
  }

  /** Looks at the image again, soon. */
  again(): void {
    if (!this.#waits) {
      this.#waits = true;
      void trainer.refresh(this).finally(() => (this.#waits = false));
    }
  }

  #drawThumbnails(): void {
    const data = trainer.run?.data;
    if (!data) {
      return;
    }
    const { length } = data.val;
    const hadFocus = this.#thumbnails.contains(document.activeElement);
    if (this.#index < this.#first || this.#index >= this.#first + THUMBNAILS) {
      this.#first = Math.floor(this.#index / THUMBNAILS) * THUMBNAILS;
    }
    this.#first = Math.max(0, Math.min(this.#first, length - THUMBNAILS));
    const buttons: HTMLButtonElement[] = [];
    for (let index = this.#first; index < Math.min(length, this.#first + THUMBNAILS); index++) {
      const canvas = make("canvas");
      drawImage(canvas, data.val.pixels(index), data.size);
      const name = data.classes[data.val.label(index)] ?? "";
      const chosen = index === this.#index;
      const label = `Image ${index + 1}: ${name}`;
      const button = make("button", { type: "button", "aria-label": label, "aria-pressed": String(chosen), title: label }, canvas);
      button.addEventListener("click", () => this.#choose(index));
      buttons.push(button);
    }
    this.#thumbnails.replaceChildren(...buttons);
    const chosen = buttons[this.#index - this.#first];
    if (chosen) {
      // On a narrow screen not all fit.
      this.#thumbnails.scrollLeft = chosen.offsetLeft - this.#thumbnails.offsetLeft - this.#thumbnails.clientWidth / 2;
    }
    if (hadFocus) {
      chosen?.focus();
    }
  }

  async refresh(run: Run, training: boolean): Promise<void> {
    // What changes from here on is to be read once more.
    this.#waits = false;
    const { session, description } = run;
    const subject = this.subject(run);
    const look = JSON.parse(await session.look(subject.rgb, subject.label)) as Look;
    const looked: Looked = { ...look, run, subject, values: new Map() };
    // While training, only what is on the screen is read.
    const inLayers = (node: LayerNode) => this.#layers.shows(node, training);
    const wanted = new Set(this.#wishes.flatMap((wish) => [...wish()]));
    for (const node of description.nodes) {
      if (!node.is_view && (this.#flow.shows(node.value) || inLayers(node))) {
        wanted.add(node.value);
      }
    }
    for (const value of wanted) {
      looked.values.set(value, await session.values(value));
    }
    this.#flow.draw(looked);
    for (const node of description.nodes) {
      if (!node.is_view && inLayers(node)) {
        const gradients = this.#layers.wantsGradients ? await session.gradients(node.value) : null;
        this.#layers.draw(node, looked, gradients);
      }
    }
    tell("looked", looked);
  }
}

export const lens = new Lens();

export function startLens(): void {
  trainer.watch(lens);
}
