// A canvas on which a part can be outlined.

import { make } from "./dom";
import type { Field } from "./state";

export class Outlined {
  readonly element: HTMLElement;
  #box = make("div", { class: "outline", hidden: true });

  constructor(canvas: HTMLCanvasElement) {
    this.element = make("div", { class: "outlined" }, canvas, this.#box);
  }

  /** Outlines a part of a canvas of so many cells; what lies beyond it is cut off. */
  mark(part: Field | null, width: number, height: number): void {
    this.#box.hidden = !part;
    if (part) {
      const { style } = this.#box;
      style.left = `${(100 * part.left) / width}%`;
      style.top = `${(100 * part.top) / height}%`;
      style.width = `${(100 * part.width) / width}%`;
      style.height = `${(100 * part.height) / height}%`;
    }
  }
}
