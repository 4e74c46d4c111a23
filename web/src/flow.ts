// The way of one image: the image, some maps of each block, what stands behind them, and the prediction.

import { ClassBars, likeliestOf } from "./class-bars";
import { byId, make, percent, shapeText } from "./dom";
import type { Description, LayerNode } from "./engine-types";
import type { Looked, Subject } from "./lens";
import { drawImage, drawMap, mapOf, rangeOf, scaleOf } from "./maps";
import { Outlined } from "./outlined";
import { Softmax } from "./softmax";
import { type Data, type Field, type MapPlace, on, tell } from "./state";

/** Maps shown of a block. */
const MAPS = 4;
/** Numbers of a vector that are shown at most. */
const NUMBERS = 64;
/** Bars of the prediction. */
const BARS = 10;

interface Column {
  node: LayerNode;
  name: string;
  element: HTMLElement;
  tiles: HTMLCanvasElement[];
}

export class Flow {
  #root = byId("flow", HTMLElement);
  #lines = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  readonly image = make("canvas", { role: "img" });
  #outlined = new Outlined(this.image);
  #softmax = new Softmax();
  #columns: Column[] = [];
  #bars = new ClassBars();
  #verdict = make("p", { class: "verdict" });
  #shown = new Set<number>();
  #looked: Looked | null = null;
  /** The map that is looked into. */
  #chosen: MapPlace | null = null;

  constructor() {
    this.#lines.setAttribute("aria-hidden", "true");
    on("map", (place) => {
      this.#chosen = place;
      if (this.#looked) {
        this.#drawMaps(this.#looked);
      }
      this.connect();
    });
    let [marked, brush]: (Field | null)[] = [null, null];
    const mark = () => this.#outlined.mark(brush ?? marked ?? null, this.image.width, this.image.height);
    on("field", (field) => {
      marked = field;
      mark();
    });
    on("brush", (at) => {
      brush = at;
      mark();
    });
    const observer = new ResizeObserver(() => this.connect());
    observer.observe(this.#root);
    observer.observe(this.image);
  }

  shows(value: number): boolean {
    return this.#shown.has(value);
  }

  build(description: Description, data: Data): void {
    const shown = columnsOf(description);
    this.#looked = null;
    this.#shown = new Set(shown.map(({ value }) => value));
    this.#columns = shown.map((node) => {
      const [channels, height, width] = node.output;
      const isVector = height === 1 && width === 1;
      const tiles = Array.from({ length: isVector ? 1 : Math.min(MAPS, channels) }, () => make("canvas", { role: "img" }));
      const block = description.blocks.findIndex((value) => value === node.value || description.nodes[value - 1]?.inputs[0] === node.value);
      const name = block >= 0 ? `Block ${block + 1}` : node.name === "AdaptiveAvgPool2d" ? "Means" : node.name;
      const label = make("a", { class: "label", href: `#layer-${node.value}` }, make("b", {}, name), shapeText(node.output));
      const buttons = isVector ? tiles : tiles.map((canvas, at) => this.#button(node, canvas, at));
      const element = make("div", { class: `flow-column${isVector ? " vector" : ""}` }, make("div", { class: "flow-tiles" }, ...buttons), label);
      return { node, name, element, tiles };
    });
    const input = make(
      "div",
      { class: "flow-column input" },
      make("div", { class: "flow-tiles" }, this.#outlined.element),
      make("p", { class: "label" }, make("b", {}, "Image"), shapeText(description.input)),
    );
    const last = description.nodes.at(-1);
    const end = make(
      "div",
      { class: "flow-column end" },
      make("div", { class: "flow-tiles" }, this.#verdict, this.#bars.element, this.#softmax.button),
      make("a", { class: "label", href: `#layer-${last?.value}` }, make("b", {}, "Prediction"), `${data.classes.length} classes`),
    );
    this.#root.replaceChildren(this.#lines, input, ...this.#columns.map(({ element }) => element), end);
    this.connect();
  }

  /** A map to look into. */
  #button(node: LayerNode, canvas: HTMLCanvasElement, at: number): HTMLButtonElement {
    canvas.removeAttribute("role");
    const button = make("button", { type: "button", class: "tile", "aria-label": `${node.name}, channel ${at}` }, canvas);
    button.addEventListener("click", () => {
      const isChosen = button.getAttribute("aria-pressed") === "true";
      tell("map", isChosen ? null : { value: node.value, channel: this.#channelAt(node, at) });
    });
    return button;
  }

  /** The channel that a tile shows: the last tile makes room for the channel that is looked into. */
  #channelAt({ value }: LayerNode, at: number): number {
    const chosen = this.#chosen?.value === value ? this.#chosen.channel : 0;
    return at === MAPS - 1 ? Math.max(at, chosen) : at;
  }

  /** Shows the image itself. */
  show({ rgb, label }: Subject, { classes, size }: Data): void {
    drawImage(this.image, rgb, size);
    this.image.setAttribute("aria-label", `The image, a ${classes[label]}`);
  }

  /** Shows what the layers make of it. */
  draw(looked: Looked): void {
    const { run, subject: { label, isDrawnOn }, probabilities } = looked;
    const { classes } = run.data;
    this.#looked = looked;
    this.#drawMaps(looked);
    this.#softmax.draw(looked);
    this.#bars.show(classes, probabilities, label, BARS);
    const guess = likeliestOf(probabilities, classes.length);
    const isRight = guess === label;
    this.#verdict.replaceChildren(
      make("b", {}, Number.isFinite(probabilities[guess]) ? `${classes[guess]}, ${percent(probabilities[guess] ?? NaN)}` : "no prediction: its numbers are not finite"),
      isDrawnOn ? `drawn on, it was ${classes[label]}` : isRight ? "\u2713 right" : `\u2715 wrong, it is ${classes[label]}`,
    );
  }

  #drawMaps({ values }: Looked): void {
    for (const { node, name, tiles } of this.#columns) {
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
        tiles.forEach((canvas, at) => {
          const channel = this.#channelAt(node, at);
          drawMap(canvas, mapOf(all, channel, node.output), width, height, scale);
          const words = `${name}, channel ${channel}: look inside`;
          const isChosen = this.#chosen?.value === node.value && this.#chosen.channel === channel;
          const { parentElement: button } = canvas;
          button?.setAttribute("aria-label", words);
          button?.setAttribute("title", words);
          button?.setAttribute("aria-pressed", String(isChosen));
        });
      }
    }
  }

  /** Draws the lines from each column to the next. */
  connect(): void {
    const origin = this.#root.getBoundingClientRect();
    const places = [...this.#root.querySelectorAll(".flow-column")].map((column) => {
      const isEnd = column.classList.contains("end");
      return [...column.querySelectorAll(isEnd ? ".bars" : ".flow-tiles canvas")].map((tile) => {
        const { left, right, top, bottom } = tile.getBoundingClientRect();
        const isChosen = tile.parentElement?.ariaPressed === "true";
        return { left: left - origin.left, right: right - origin.left, middle: (top + bottom) / 2 - origin.top, isChosen };
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
          path.classList.toggle("into", to.isChosen);
          paths.push(path);
        }
      }
    });
    // What leads into the chosen map lies over the other lines.
    this.#lines.replaceChildren(...paths.sort((a, b) => a.classList.length - b.classList.length));
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
