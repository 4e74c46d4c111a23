// Every layer with its activations, gradients, weights and weight gradients.

import { ClassBars } from "./class-bars";
import { byId, count, make, many, recall, remember, setText, shapeText, short } from "./dom";
import type { Description, LayerNode } from "./engine-types";
import type { Looked } from "./lens";
import { type Grid, drawBars, drawColourTiles, drawScale, drawTiles, rangeOf, scaleOf } from "./maps";
import { type Data, tell } from "./state";

/** Maps that are shown before the visitor asks for all. */
const MAPS = 64;
/** Filters that are shown at once: outputs, and inputs of each. */
const FILTERS = [16, 32] as const;
/** Cells of a canvas on a side: more than this, no browser draws. */
const MOST_CELLS = 8192;
/** About how wide a map is drawn, in pixels. */
const MAP_WIDTH = 56;
/** Pixels of a value at most: maps of a few values stay small. */
const MOST_ZOOM = 12;

const kinds = ["gradients", "weights", "weight-gradients"] as const;
type Kind = (typeof kinds)[number];

/** A picture of numbers with a line of words above it. */
class Part {
  readonly element: HTMLElement;
  readonly canvas = make("canvas", { role: "img" });
  #numbers = make("span");
  #words = "";
  #under: ((x: number, y: number) => string | null) | null = null;
  /** What a press on a place of the picture does. */
  press: ((x: number, y: number) => void) | null = null;

  constructor(readonly title: string) {
    const scroll = make("div", { class: "scroll" }, this.canvas);
    this.element = make("div", { class: "part" }, make("p", {}, make("b", {}, title), this.#numbers), scroll);
    this.canvas.addEventListener("pointermove", ({ offsetX, offsetY }) => {
      const words = this.#under?.(offsetX, offsetY);
      setText(this.#numbers, words ?? this.#words);
    });
    this.canvas.addEventListener("pointerleave", () => setText(this.#numbers, this.#words));
    this.canvas.addEventListener("click", ({ offsetX, offsetY }) => this.press?.(offsetX, offsetY));
  }

  /** What stands above, and what stands at a place of the picture. */
  tell(of: string, words: string, under: ((x: number, y: number) => string | null) | null = null): void {
    this.#under = under;
    // The value under the pointer stays until the pointer moves.
    if (!this.canvas.matches(":hover")) {
      setText(this.#numbers, words);
    }
    this.#words = words;
    this.canvas.setAttribute("aria-label", `${of}, ${this.title}: ${words}`);
  }
}

interface Section {
  element: HTMLElement;
  parts: HTMLElement;
  byTitle: Map<string, Part>;
  all: boolean;
  showAll: HTMLButtonElement;
}

export class LayersView {
  #list = byId("layer-list", HTMLElement);
  #sections = new Map<number, Section>();
  #visible = new Set<Element>();
  #observer = new IntersectionObserver(
    (entries) => {
      for (const { target, isIntersecting } of entries) {
        if (isIntersecting) {
          this.#visible.add(target);
        } else {
          this.#visible.delete(target);
        }
      }
    },
    { rootMargin: "150px" },
  );
  #shown = new Set<Kind>();
  #bars = new ClassBars();

  constructor(readonly again: () => void) {
    for (const kind of kinds) {
      const box = byId(`show-${kind}`, HTMLInputElement);
      box.checked = recall(`show-${kind}`) === "yes";
      if (box.checked) {
        this.#shown.add(kind);
      }
      box.addEventListener("change", () => {
        remember(`show-${kind}`, box.checked ? "yes" : "no");
        if (box.checked) {
          this.#shown.add(kind);
        } else {
          this.#shown.delete(kind);
        }
        for (const { parts, byTitle } of this.#sections.values()) {
          parts.replaceChildren();
          byTitle.clear();
        }
        this.again();
      });
    }
    let room = 0;
    new ResizeObserver(() => {
      if (Math.abs(room - this.#list.clientWidth) > 8) {
        room = this.#list.clientWidth;
        this.again();
      }
    }).observe(this.#list);
    this.drawLegends();
  }

  get wantsGradients(): boolean {
    return this.#shown.has("gradients");
  }

  drawLegends(): void {
    drawScale(byId("scale-one", HTMLCanvasElement), false);
    drawScale(byId("scale-two", HTMLCanvasElement), true);
  }

  /** Whether a layer is to be drawn now: while training, if it is near the screen. */
  shows(node: LayerNode, training: boolean): boolean {
    const section = this.#sections.get(node.value);
    return section !== undefined && (!training || this.#visible.has(section.element));
  }

  build(description: Description, data: Data): void {
    this.#observer.disconnect();
    this.#visible.clear();
    this.#sections.clear();
    const found: Node[] = [];
    let block: number | null | undefined;
    for (const node of description.nodes) {
      if (node.block !== block && !node.is_view) {
        block = node.block;
        found.push(make("p", { class: "block-head" }, block === null ? (found.length ? "Behind the blocks" : "Before the blocks") : `Block ${block + 1}`));
      }
      if (node.is_view) {
        continue;
      }
      const section = this.#section(node, description, data);
      found.push(section.element);
      this.#sections.set(node.value, section);
      this.#observer.observe(section.element);
    }
    this.#list.replaceChildren(...found);
  }

  #section(node: LayerNode, description: Description, data: Data): Section {
    const [channels, height, width] = node.output;
    const parameters = node.tensors.reduce((sum, [, shape]) => sum + shape.reduce((all, side) => all * side, 1), 0);
    const details = [
      windowText(node),
      height * width > 1 ? `makes ${channels} maps of ${height} \u00d7 ${width}` : `makes ${many(channels, "number")}`,
      parameters > 0 ? many(parameters, "parameter") : "",
      node.inputs.length > 1 ? `adds up ${node.inputs.length} inputs` : "",
    ].filter(Boolean);
    const showAll = make("button", { type: "button", class: "quiet small", id: `all-${node.value}` }, "Show all");
    const inside = height * width > 1 ? [make("button", { type: "button", class: "quiet small" }, "Look inside")] : [];
    inside.forEach((button) => button.addEventListener("click", () => tell("map", { value: node.value, channel: 0 })));
    const title = make("h3", {}, node.name, make("span", { class: "visually-hidden" }, ` ${node.key}`));
    const parts = make("div", { class: "parts" });
    const element = make(
      "section",
      { class: "card layer", id: `layer-${node.value}` },
      make("header", {}, title, make("span", { class: "detail" }, details.join(", ")), ...inside, showAll),
      parts,
    );
    const section: Section = { element, parts, byTitle: new Map(), all: false, showAll };
    showAll.addEventListener("click", () => {
      section.all = !section.all;
      setText(showAll, section.all ? "Show fewer" : "Show all");
      this.again();
    });
    if (node === description.nodes.at(-1)) {
      element.append(make("div", { class: "part last-bars" }, make("p", {}, make("b", {}, "probabilities"), data.classes.length > 20 ? "the 20 likeliest" : ""), this.#bars.element));
    }
    return section;
  }

  /** Draws a layer; `gradients` are those of its output, where they are shown. */
  draw(node: LayerNode, looked: Looked, gradients: Float32Array | null): void {
    const section = this.#sections.get(node.value);
    const values = looked.values.get(node.value);
    if (!section || !values) {
      return;
    }
    const { session, data, description } = looked.run;
    const [channels, height, width] = node.output;
    const hasMore = ([outputs = 0, inputs = 0]: number[]) => outputs > FILTERS[0] || inputs > FILTERS[1];
    const showsWeights = this.#shown.has("weights") || this.#shown.has("weight-gradients");
    section.showAll.hidden = !(
      (height * width > 1 && channels > MAPS) ||
      (showsWeights && node.tensors.some(([, shape]) => shape.length > 1 && hasMore(shape)))
    );
    const isLast = node === description.nodes.at(-1);
    this.#outputs(section, node, "activations", values, node.signed, isLast ? data.classes : null);
    if (gradients) {
      this.#outputs(section, node, "gradients", gradients, true, isLast ? data.classes : null);
    }
    if (isLast) {
      this.#bars.show(data.classes, looked.probabilities, looked.subject.label, 20);
    }
    for (const [key, shape] of node.tensors) {
      const name = key.slice(node.key.length).replace(/^\./, "");
      if (this.#shown.has("weights")) {
        this.#tensor(section, node, name, session.tensor(key), shape);
      }
      if (this.#shown.has("weight-gradients")) {
        this.#tensor(section, node, `${name} gradient`, session.tensor_gradient(key), shape);
      }
    }
  }

  #part(section: Section, title: string): Part {
    let part = section.byTitle.get(title);
    if (!part) {
      part = new Part(title);
      section.byTitle.set(title, part);
      section.parts.append(part.element);
    }
    return part;
  }

  get #room(): number {
    // What a card has inside.
    return Math.max(200, this.#list.clientWidth - 36);
  }

  /** Maps or a vector that a layer made of the image. */
  #outputs(section: Section, node: LayerNode, title: string, values: Float32Array, signed: boolean, classes: string[] | null): void {
    const [channels, height, width] = node.output;
    const part = this.#part(section, title);
    const range = rangeOf(values);
    const numbers = `${short(range.min)} to ${short(range.max)}`;
    if (height === 1 && width === 1) {
      drawBars(part.canvas, values, range, this.#room);
      const step = part.canvas.clientWidth / Math.min(values.length, Math.floor(this.#room / 2));
      part.tell(node.name, numbers, (x) => {
        const at = Math.floor(x / step);
        const value = values[at];
        return value === undefined ? null : `${classes?.[at] ?? `number ${at}`}: ${short(value)}`;
      });
      return;
    }
    const tiles = section.all ? channels : Math.min(MAPS, channels);
    const zoom = Math.max(1, Math.min(MOST_ZOOM, Math.round(MAP_WIDTH / width)));
    const gap = 4;
    const columns = columnsFor(tiles, Math.floor((this.#room + gap) / (width * zoom + gap)));
    const grid: Grid = { columns, map: [width, height], zoom, gap };
    drawTiles(part.canvas, values, tiles, grid, scaleOf(range, signed));
    const words = numbers + (tiles < channels ? `, the first ${tiles} of ${count(channels)} channels` : "");
    const cellAt = (x: number, y: number) => {
      const [wide, high] = [width * zoom + gap, height * zoom + gap];
      const channel = Math.floor(y / high) * columns + Math.floor(x / wide);
      const [row, column] = [Math.floor((y % high) / zoom), Math.floor((x % wide) / zoom)];
      return channel >= tiles || x / wide >= columns || row >= height || column >= width ? null : { channel, row, column };
    };
    part.tell(node.name, words, (x, y) => {
      const cell = cellAt(x, y);
      if (!cell) {
        return null;
      }
      const value = values[(cell.channel * height + cell.row) * width + cell.column] ?? NaN;
      return `channel ${cell.channel}, row ${cell.row}, column ${cell.column}: ${short(value)}`;
    });
    if (title === "activations") {
      part.canvas.classList.add("opens");
      part.canvas.title = "Look inside";
      part.press = (x, y) => {
        const cell = cellAt(x, y);
        if (cell) {
          tell("map", { value: node.value, channel: cell.channel });
        }
      };
    }
  }

  /** A trained tensor, or the derivative by it. */
  #tensor(section: Section, node: LayerNode, title: string, values: Float32Array, shape: number[]): void {
    const part = this.#part(section, title);
    const range = rangeOf(values);
    const numbers = values.length === 0 ? "none yet" : `${short(range.min)} to ${short(range.max)}`;
    const [outputs = 0, inputs = 1, height = 1, width = 1] = shape;
    if (values.length === 0) {
      part.tell(node.name, numbers);
    } else if (shape.length === 1) {
      drawBars(part.canvas, values, range, this.#room);
      part.tell(node.name, numbers);
    } else if (inputs === 3 && shape.length === 4) {
      const tiles = section.all ? outputs : Math.min(MAPS, outputs);
      const zoom = Math.max(2, Math.round(30 / width));
      const columns = columnsFor(tiles, Math.floor((this.#room + 4) / (width * zoom + 4)));
      const { end } = scaleOf(range, true);
      drawColourTiles(part.canvas, values, tiles, { columns, map: [width, height], zoom, gap: 4 }, end);
      part.tell(node.name, `${numbers}, ${shapeText(shape)}, in colour: grey is 0`);
    } else {
      this.#matrix(section, part, node, values, shape, numbers);
    }
  }

  /** Filters or single weights as a matrix: a row an output, a column an input. */
  #matrix(section: Section, part: Part, node: LayerNode, values: Float32Array, shape: number[], numbers: string): void {
    const [outputs = 0, inputs = 1, height = 1, width = 1] = shape;
    const isFilters = height * width > 1;
    const isDepthwise = isFilters && inputs === 1;
    const gap = isFilters ? 2 : 0;
    const zoom = isFilters ? (section.all ? 2 : 4) : Math.max(section.all ? 1 : 3, Math.min(14, Math.floor(this.#room / inputs)));
    const fit = Math.max(1, Math.floor((this.#room + gap) / (width * zoom + gap)));
    const most = Math.floor(MOST_CELLS / (width * zoom + gap));
    const columns = isDepthwise ? Math.min(outputs, fit) : Math.min(inputs, section.all ? most : isFilters ? Math.min(fit, FILTERS[1]) : fit);
    const rows = isDepthwise ? 1 : Math.min(outputs, section.all ? most : isFilters ? FILTERS[0] : 32);
    const area = height * width;
    const tiles = isDepthwise ? (section.all ? outputs : Math.min(MAPS, outputs)) : rows * columns;
    let chosen = values;
    if (!isDepthwise && columns < inputs) {
      chosen = new Float32Array(rows * columns * area);
      for (let row = 0; row < rows; row++) {
        chosen.set(values.subarray(row * inputs * area, (row * inputs + columns) * area), row * columns * area);
      }
    }
    const scale = scaleOf(rangeOf(values), true);
    if (isFilters) {
      drawTiles(part.canvas, chosen, tiles, { columns, map: [width, height], zoom, gap }, scale);
    } else {
      drawTiles(part.canvas, chosen, 1, { columns: 1, map: [columns, rows], zoom, gap: 0 }, scale);
    }
    const isPart = !isDepthwise && (rows < outputs || columns < inputs);
    const form = isDepthwise ? "a filter a channel" : "a row an output, a column an input";
    const words = isPart ? `the first ${rows} of ${count(outputs)} outputs and ${columns} of ${count(inputs)} inputs` : form;
    part.tell(node.name, `${numbers}, ${shapeText(shape)}, ${words}`);
  }
}

/** Columns that fit, and that leave no row much shorter than the others. */
function columnsFor(tiles: number, fit: number): number {
  const rows = Math.ceil(tiles / Math.max(1, fit));
  return Math.ceil(tiles / rows);
}

function windowText({ kernel_size, stride, padding, groups }: LayerNode): string {
  if (kernel_size === undefined) {
    return "";
  }
  const size = `${kernel_size} \u00d7 ${kernel_size}`;
  const parts = [size, stride !== 1 ? `stride ${stride}` : "", padding ? `padding ${padding}` : "", groups !== 1 ? `${groups} groups` : ""];
  return parts.filter(Boolean).join(", ");
}
