// Drawing on the image that is looked at, by pointer or keyboard. What the layers make of it follows at once.

import { byId } from "./dom";
import { lens } from "./lens";
import { on, tell } from "./state";
import { trainer } from "./training";

/** Drawings that can be taken back. */
const MOST_UNDONE = 30;

class Draw {
  #button = byId("draw", HTMLButtonElement);
  #tools = byId("draw-tools", HTMLElement);
  #colour = byId("draw-colour", HTMLInputElement);
  #width = byId("draw-width", HTMLInputElement);
  #undo = byId("draw-undo", HTMLButtonElement);
  #clear = byId("draw-clear", HTMLButtonElement);
  #canvas = lens.image;
  /** The image before each stroke; null is the image itself. */
  #past: (Uint8Array | null)[] = [];
  /** What is drawn on; null where nothing is yet. */
  #rgb: Uint8Array | null = null;
  #size = 0;
  /** Where the brush is, in pixels of the image. */
  #brush = { x: 0, y: 0 };
  #pressed = false;
  #own = false;

  constructor() {
    this.#button.addEventListener("click", () => this.#turn(this.#tools.hidden !== false));
    this.#undo.addEventListener("click", () => {
      const past = this.#past.pop();
      if (past !== undefined) {
        this.#show(past);
      }
    });
    this.#clear.addEventListener("click", () => {
      this.#remember();
      this.#show(null);
    });
    this.#canvas.addEventListener("pointerdown", (event) => {
      if (!this.#tools.hidden && event.button === 0) {
        this.#canvas.setPointerCapture(event.pointerId);
        this.#pressed = true;
        this.#begin();
        this.#move(event, false);
      }
    });
    this.#canvas.addEventListener("pointermove", (event) => {
      if (this.#pressed) {
        this.#move(event, true);
      }
    });
    for (const end of ["pointerup", "pointercancel"] as const) {
      this.#canvas.addEventListener(end, () => (this.#pressed = false));
    }
    this.#canvas.addEventListener("keydown", (event) => this.#key(event));
    this.#canvas.addEventListener("blur", () => tell("brush", null));
    on("subject", () => {
      if (!this.#own) {
        this.#past = [];
        this.#rgb = null;
      }
      this.#state();
    });
  }

  #turn(isOn: boolean): void {
    this.#tools.hidden = !isOn;
    this.#button.setAttribute("aria-pressed", String(isOn));
    this.#canvas.classList.toggle("drawable", isOn);
    if (isOn) {
      this.#canvas.tabIndex = 0;
      const { width } = this.#canvas;
      this.#brush = { x: Math.floor(width / 2), y: Math.floor(width / 2) };
      this.#canvas.focus();
    } else {
      this.#canvas.removeAttribute("tabindex");
      tell("brush", null);
    }
    this.#state();
  }

  #state(): void {
    this.#undo.disabled = this.#past.length === 0;
    this.#clear.disabled = this.#rgb === null;
  }

  #remember(): void {
    this.#past = [...this.#past.slice(1 - MOST_UNDONE), this.#rgb];
  }

  /** A stroke begins. */
  #begin(): void {
    const run = trainer.run;
    if (!run) {
      return;
    }
    this.#remember();
    this.#size = run.data.size;
    this.#rgb = lens.subject(run).rgb.slice();
  }

  /** Draws at the pointer, or from where the brush was to there. */
  #move({ offsetX, offsetY }: PointerEvent, isLine: boolean): void {
    const scale = this.#canvas.width / this.#canvas.clientWidth;
    this.#stroke({ x: Math.floor(offsetX * scale), y: Math.floor(offsetY * scale) }, isLine);
  }

  #stroke(to: { x: number; y: number }, isLine: boolean): void {
    const from = isLine ? this.#brush : to;
    const steps = Math.max(1, Math.abs(to.x - from.x), Math.abs(to.y - from.y));
    for (let step = 0; step <= steps; step++) {
      const share = step / steps;
      this.#dab(Math.round(from.x + share * (to.x - from.x)), Math.round(from.y + share * (to.y - from.y)));
    }
    this.#brush = to;
    this.#show(this.#rgb);
  }

  #dab(x: number, y: number): void {
    const colour = [1, 3, 5].map((at) => Number.parseInt(this.#colour.value.slice(at, at + 2), 16));
    const radius = this.#width.valueAsNumber / 2;
    const reach = Math.floor(radius);
    for (let row = Math.max(0, y - reach); row <= Math.min(this.#size - 1, y + reach); row++) {
      for (let column = Math.max(0, x - reach); column <= Math.min(this.#size - 1, x + reach); column++) {
        if (Math.hypot(row - y, column - x) <= radius) {
          this.#rgb?.set(colour, (row * this.#size + column) * 3);
        }
      }
    }
  }

  #key(event: KeyboardEvent): void {
    const run = trainer.run;
    if (this.#tools.hidden || !run) {
      return;
    }
    const { size } = run.data;
    const steps: Record<string, [number, number]> = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    const step = steps[event.key];
    const inside = (at: number) => Math.min(size - 1, Math.max(0, at));
    if (step) {
      this.#brush = { x: inside(this.#brush.x + step[0]), y: inside(this.#brush.y + step[1]) };
    } else if (event.key === " ") {
      if (!event.repeat) {
        this.#begin();
      }
      this.#stroke(this.#brush, false);
    } else {
      return;
    }
    event.preventDefault();
    tell("brush", { left: this.#brush.x, top: this.#brush.y, width: 1, height: 1 });
  }

  #show(rgb: Uint8Array | null): void {
    this.#rgb = rgb;
    this.#own = true;
    lens.draw(rgb && rgb.slice());
    this.#own = false;
  }
}

export function startDraw(): void {
  new Draw();
}
