// How scores become probabilities: the sum behind the prediction, with its numbers.

import { byId, make, many, onEscape, percent, reveal, setText, short } from "./dom";
import type { Looked } from "./lens";

/** Classes with a row of their own. */
const ROWS = 10;

export class Softmax {
  readonly button = make("button", { type: "button", class: "small", id: "how", "aria-expanded": "false", "aria-controls": "softmax" }, "How?");
  #card = byId("softmax", HTMLElement);
  #looked: Looked | null = null;

  constructor() {
    this.button.addEventListener("click", () => this.#open(this.#card.hidden !== false));
    byId("softmax-close", HTMLButtonElement).addEventListener("click", () => this.#open(false));
    onEscape(() => this.#open(false));
  }

  #open(isOpen: boolean): void {
    const hadFocus = this.#card.contains(document.activeElement);
    this.#card.hidden = !isOpen;
    this.button.setAttribute("aria-expanded", String(isOpen));
    if (isOpen && this.#looked) {
      this.draw(this.#looked);
      reveal(this.#card);
    } else if (hadFocus) {
      this.button.focus();
    }
  }

  draw(looked: Looked): void {
    this.#looked = looked;
    if (this.#card.hidden) {
      return;
    }
    const { run, logits, exponentials, probabilities, subject } = looked;
    const { classes } = run.data;
    const order = classes.map((_, label) => label).sort((a, b) => (logits[b] ?? 0) - (logits[a] ?? 0));
    const sumOf = (numbers: number[], labels: number[]) => labels.reduce((sum, label) => sum + (numbers[label] ?? NaN), 0);
    const rest = order.slice(ROWS);
    const total = short(sumOf(exponentials, order));
    const rows = order.slice(0, ROWS).map((label) => {
      const name = `${classes[label]}${label === subject.label ? " \u2713" : ""}`;
      return row(name, short(logits[label] ?? NaN), exponentials[label] ?? NaN, probabilities[label] ?? NaN);
    });
    if (rest.length > 0) {
      rows.push(row(many(rest.length, "other"), "", sumOf(exponentials, rest), sumOf(probabilities, rest)));
    }
    setText(byId("softmax-largest", HTMLElement), short(logits[order[0] ?? 0] ?? NaN));
    setText(byId("softmax-sum", HTMLElement), total);
    byId("softmax-rows", HTMLElement).replaceChildren(
      ...rows,
      make("tr", { class: "sum" }, make("th", { scope: "row" }, "Sum"), make("td"), make("td", {}, total), make("td", {}, percent(sumOf(probabilities, order), 1)), make("td")),
    );
  }
}

function row(name: string, logit: string, exponential: number, probability: number): HTMLElement {
  const fill = make("div", { class: "bar-fill" });
  fill.style.transform = `scaleX(${Number.isFinite(probability) ? probability.toFixed(4) : 0})`;
  const cells = [logit, short(exponential), percent(probability, 1)].map((text) => make("td", {}, text));
  return make("tr", {}, make("th", { scope: "row" }, name), ...cells, make("td", {}, make("div", { class: "bar-track" }, fill)));
}
