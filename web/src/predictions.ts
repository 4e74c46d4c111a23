// Twelve validation images and what the network takes them for.

import { ClassBars, likeliestOf } from "./class-bars";
import { byId, make, percent, setText } from "./dom";
import { drawImage } from "./maps";
import { on } from "./state";
import { type Run, type Viewer, trainer } from "./training";

const SHOWN = 12;
/** Bars of an image. */
const BARS = 4;

interface Card {
  canvas: HTMLCanvasElement;
  mark: HTMLElement;
  bars: ClassBars;
  item: HTMLElement;
}

class Predictions implements Viewer {
  readonly period = 2000;
  #list = byId("predictions", HTMLUListElement);
  #cards: Card[] = [];
  #indices: number[] = [];

  constructor() {
    byId("shuffle", HTMLButtonElement).addEventListener("click", () => this.#choose(true));
    on("made", ({ goesOn }) => {
      if (!goesOn) {
        this.#choose(false);
      }
    });
    on("scores", ({ accuracy, images, interval: [low, high], baseline }) => {
      const range = `95% interval ${percent(low)} to ${percent(high)}`;
      const words = `${percent(accuracy)} of ${images} validation images are right (${range}); always naming the commonest class: ${percent(baseline)}. The network does not train on them.`;
      setText(byId("predictions-hint", HTMLElement), words);
    });
  }

  /** Chooses the first images, or any. */
  #choose(shuffled: boolean): void {
    const data = trainer.run?.data;
    if (!data) {
      return;
    }
    const all = Array.from({ length: data.val.length }, (_, index) => index);
    if (shuffled) {
      for (let at = 0; at < Math.min(SHOWN, all.length); at++) {
        const other = at + Math.floor(Math.random() * (all.length - at));
        [all[at], all[other]] = [all[other] ?? 0, all[at] ?? 0];
      }
    }
    this.#indices = all.slice(0, SHOWN);
    this.#cards = this.#indices.map((index) => {
      const canvas = make("canvas", { role: "img" });
      drawImage(canvas, data.val.pixels(index), data.size);
      const mark = make("span", { class: "mark", hidden: true });
      const bars = new ClassBars();
      const item = make("li", { class: "prediction" }, make("div", {}, canvas, mark), bars.element);
      return { canvas, mark, bars, item };
    });
    this.#list.replaceChildren(...this.#cards.map(({ item }) => item));
    if (shuffled) {
      void trainer.refresh(this);
    }
  }

  async refresh({ session, data }: Run): Promise<void> {
    const [indices, cards] = [this.#indices, this.#cards];
    const found = await session.predict(new Uint32Array(indices));
    const { classes } = data;
    cards.forEach(({ canvas, mark, bars }, at) => {
      const probabilities = found.subarray(at * classes.length, (at + 1) * classes.length);
      const right = data.val.label(indices[at] ?? 0);
      const guess = likeliestOf(probabilities, classes.length);
      bars.show(classes, probabilities, right, BARS);
      mark.hidden = false;
      mark.className = guess === right ? "mark" : "mark wrong";
      setText(mark, guess === right ? "\u2713" : "\u2715");
      const share = percent(probabilities[guess] ?? NaN);
      const verdict = guess === right ? "right" : `wrong, it is ${classes[right]}`;
      canvas.setAttribute("aria-label", `Predicted ${classes[guess]} with ${share}: ${verdict}`);
    });
  }
}

export function startPredictions(): void {
  trainer.watch(new Predictions());
}
