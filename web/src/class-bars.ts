// Probabilities of classes as bars.

import { make, percent, setText } from "./dom";

/** Rows of bars that are kept and changed, so that they can move. */
export class ClassBars {
  readonly element = make("div", { class: "bars" });
  #rows: { row: HTMLElement; name: HTMLElement; fill: HTMLElement; value: HTMLElement }[] = [];

  /** `most` bars: the likeliest classes and the right one, in the order of the classes. */
  show(classes: string[], probabilities: ArrayLike<number>, right: number, most: number): void {
    const order = classes.map((_, label) => label);
    let shown = order;
    if (classes.length > most) {
      const likeliest = [...order].sort((a, b) => (probabilities[b] ?? 0) - (probabilities[a] ?? 0)).slice(0, most);
      if (!likeliest.includes(right)) {
        likeliest[most - 1] = right;
      }
      shown = likeliest.sort((a, b) => a - b);
    }
    while (this.#rows.length < shown.length) {
      const name = make("span");
      const fill = make("div", { class: "bar-fill" });
      const value = make("span");
      const row = make("div", { class: "bar-row" }, name, make("div", { class: "bar-track" }, fill), value);
      this.element.append(row);
      this.#rows.push({ row, name, fill, value });
    }
    this.#rows.splice(shown.length).forEach(({ row }) => row.remove());
    const guess = likeliestOf(probabilities, classes.length);
    shown.forEach((label, at) => {
      const entry = this.#rows[at];
      if (!entry) {
        return;
      }
      const share = probabilities[label] ?? 0;
      setText(entry.name, classes[label] ?? "");
      entry.name.title = classes[label] ?? "";
      setText(entry.value, percent(share));
      entry.fill.style.transform = `scaleX(${Number.isFinite(share) ? share.toFixed(4) : 0})`;
      entry.row.className = `bar-row${label === right ? " right" : label === guess ? " wrong" : ""}`;
    });
  }
}

/** The class with the largest probability. */
export function likeliestOf(probabilities: ArrayLike<number>, classes: number): number {
  let best = 0;
  for (let label = 1; label < classes; label++) {
    if ((probabilities[label] ?? 0) > (probabilities[best] ?? 0)) {
      best = label;
    }
  }
  return best;
}
