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

/** The image that is looked at, as read from the device. */
export interface Looked extends Look {
  run: Run;
  rgb: Uint8Array;
  label: number;
  /** Outputs of layers, (C, H, W), by value. */
  values: Map<number, Float32Array>;
}

class Lens implements Viewer {
  readonly period = 1000;
  #flow = new Flow();
  #layers = new LayersView(() => trainer.refresh(this));
  #thumbnails = byId("thumbnails", HTMLElement);
  #index = 0;
  #first = 0;

  constructor() {
    byId("previous-image", HTMLButtonElement).addEventListener("click", () => this.#move(-1));
    byId("next-image", HTMLButtonElement).addEventListener("click", () => this.#move(1));
    on("made", ({ data, description, goesOn }) => {
      if (!goesOn) {
        this.#index = Math.min(this.#index, data.val.length - 1);
        tell("chosen", this.#index);
        this.#drawThumbnails();
      }
      this.#flow.build(description, data);
      this.#layers.build(description, data);
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
    tell("chosen", index);
    this.#drawThumbnails();
    trainer.refresh(this);
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
    const { session, data, description } = run;
    const index = Math.min(this.#index, data.val.length - 1);
    const rgb = data.val.pixels(index);
    const label = data.val.label(index);
    const look = JSON.parse(await session.look(rgb, label)) as Look;
    const looked: Looked = { ...look, run, rgb, label, values: new Map() };
    // While training, only what is on the screen is read.
    const inFlow = (node: LayerNode) => this.#flow.shows(node.value);
    const inLayers = (node: LayerNode) => this.#layers.shows(node, training);
    for (const node of description.nodes) {
      if (!node.is_view && (inFlow(node) || inLayers(node))) {
        looked.values.set(node.value, await session.values(node.value));
      }
    }
    this.#flow.draw(looked);
    for (const node of description.nodes) {
      if (!node.is_view && inLayers(node)) {
        const gradients = this.#layers.wantsGradients ? await session.gradients(node.value) : null;
        this.#layers.draw(node, looked, gradients);
      }
    }
  }
}

export function startLens(): void {
  trainer.watch(new Lens());
}
