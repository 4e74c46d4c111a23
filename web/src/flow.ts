// The way of one image: the image, some maps of each block, what stands behind them, and the prediction.

import { ClassBars, likeliestOf } from "./class-bars";
import { byId, make, percent, shapeText } from "./dom";
import type { Description, LayerNode } from "./engine-types";
import type { Looked } from "./lens";
import { drawImage, drawMap, rangeOf, scaleOf } from "./maps";
import type { Data } from "./state";

/** Maps shown of a block. */
const MAPS = 4;
/** Numbers of a vector that are shown at most. */
const NUMBERS = 64;
/** Bars of the prediction. */
const BARS = 10;

interface Column {
  node: LayerNode;
  element: HTMLElement;
  tiles: HTMLCanvasElement[];
}

export class Flow {
  #root = byId("flow", HTMLElement);
  #lines = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  readonly image = make("canvas", { role: "img" });
  #columns: Column[] = [];
  #bars = new ClassBars();
  #verdict = make("p", { class: "verdict" });
  #shown = new Set<number>();

  constructor() {
    this.#lines.setAttribute("aria-hidden", "true");
    const observer = new ResizeObserver(() => this.connect());
    observer.observe(this.#root);
    observer.observe(this.image);
  }

  shows(value: number): boolean {
    return this.#shown.has(value);
  }

  build(description: Description, data: Data): void {
    const chosen = columnsOf(description);
    this.#shown = new Set(chosen.map(({ value }) => value));
    this.#columns = chosen.map((node) => {
      const [channels, height, width] = node.output;
      const isVector = height === 1 && width === 1;
      const tiles = Array.from({ length: isVector ? 1 : Math.min(MAPS, channels) }, () => make("canvas", { role: "img" }));
      const block = description.blocks.findIndex((value) => value === node.value || description.nodes[value - 1]?.inputs[0] === node.value);
      const name = block >= 0 ? `Block ${block + 1}` : node.name === "AdaptiveAvgPool2d" ? "Means" : node.name;
      const label = make("a", { class: "label", href: `#layer-${node.value}` }, make("b", {}, name), shapeText(node.output));
      const element = make("div", { class: `flow-column${isVector ? " vector" : ""}` }, make("div", { class: "flow-tiles" }, ...tiles), label);
      return { node, element, tiles };
    });
    const input = make(
      "div",
      { class: "flow-column input" },
      make("div", { class: "flow-tiles" }, this.image),
      make("p", { class: "label" }, make("b", {}, "Image"), shapeText(description.input)),
    );
    const last = description.nodes.at(-1);
    const end = make(
      "div",
      { class: "flow-column end" },
      make("div", { class: "flow-tiles" }, this.#verdict, this.#bars.element),
      make("a", { class: "label", href: `#layer-${last?.value}` }, make("b", {}, "Prediction"), `${data.classes.length} classes`),
    );
    this.#root.replaceChildren(this.#lines, input, ...this.#columns.map(({ element }) => element), end);
    this.connect();
  }

  draw({ run, subject: { rgb, label, isDrawnOn }, values, probabilities }: Looked): void {
    const { classes, size } = run.data;
    drawImage(this.image, rgb, size);
    this.image.setAttribute("aria-label", `The image, a ${classes[label]}`);
    for (const { node, tiles } of this.#columns) {
      const all = values.get(node.value);
      if (!all) {
        continue;
      }
      const [channels, height, width] = node.output;
      const range = rangeOf(all);
      const scale = scaleOf(range, node.signed);
      if (height === 1 && width === 1) {
        const canvas = tiles[0];
        if (canvas) {
          drawMap(canvas, all.subarray(0, NUMBERS), 1, Math.min(NUMBERS, channels), scale);
          canvas.setAttribute("aria-label", `${node.name}: ${channels} numbers`);
        }
      } else {
        tiles.forEach((canvas, channel) => {
          drawMap(canvas, all.subarray(channel * height * width, (channel + 1) * height * width), width, height, scale);
          canvas.setAttribute("aria-label", `${node.name}, channel ${channel}`);
        });
      }
    }
    this.#bars.show(classes, probabilities, label, BARS);
    const guess = likeliestOf(probabilities, classes.length);
    const isRight = guess === label;
    this.#verdict.replaceChildren(
      make("b", {}, `${classes[guess]}, ${percent(probabilities[guess] ?? NaN)}`),
      isDrawnOn ? `drawn on, it was ${classes[label]}` : isRight ? "\u2713 right" : `\u2715 wrong, it is ${classes[label]}`,
    );
  }

  /** Draws the lines from each column to the next. */
  connect(): void {
    const origin = this.#root.getBoundingClientRect();
    const places = [...this.#root.querySelectorAll(".flow-column")].map((column) => {
      const isEnd = column.classList.contains("end");
      return [...column.querySelectorAll(isEnd ? ".bars" : ".flow-tiles > canvas")].map((tile) => {
        const { left, right, top, bottom } = tile.getBoundingClientRect();
        return { left: left - origin.left, right: right - origin.left, middle: (top + bottom) / 2 - origin.top };
      });
    });
    const paths: SVGPathElement[] = [];
    places.slice(1).forEach((targets, at) => {
      for (const from of places[at] ?? []) {
        for (const to of targets) {
          const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
          const half = (from.right + to.left) / 2;
          path.setAttribute(
            "d",
            `M${from.right + 2} ${from.middle}C${half} ${from.middle} ${half} ${to.middle} ${to.left - 2} ${to.middle}`,
          );
          paths.push(path);
        }
      }
    });
    this.#lines.replaceChildren(...paths);
  }
}

/** The outputs of the blocks, and of each layer behind them that makes or gathers numbers, but for the last. */
function columnsOf(description: Description): LayerNode[] {
  const { blocks, nodes } = description;
  const lastBlock = Math.max(...blocks);
  const rest = nodes.filter(({ value, is_view }) => value > lastBlock && !is_view).slice(0, -1);
  // Behind a linear layer stands its ReLU: that is what goes on.
  const behind = rest.filter(({ name }, at) => name !== "Linear" || rest[at + 1]?.name !== "ReLU");
  return [...blockEnds(description), ...behind];
}

/** The layers whose outputs are those of the blocks. A view has the numbers of what stands before it. */
export function blockEnds({ blocks, nodes }: Description): LayerNode[] {
  const ends = blocks.map((value) => nodes[value - 1]).filter((node) => node !== undefined);
  return ends.map((node) => (node.is_view ? (nodes[(node.inputs[0] ?? 0) - 1] ?? node) : node));
}
