// One map taken apart: what each input channel adds to a convolution's map, what follows up to the chosen map, and the products that make
// one cell of it.

import { changes } from "./changes";
import { costWords, verdictWords } from "./changes-words";
import { byId, count, make, onEscape, reveal, setText, short, span } from "./dom";
import type { Cell, Description, Judged, LayerNode, Shape } from "./engine-types";
import { type Looked, lens } from "./lens";
import { type Range, type Scale, drawMap, mapOf, rangeOf, scaleOf } from "./maps";
import { fieldOf } from "./network";
import { Outlined } from "./outlined";
import { type MapPlace, on, tell } from "./state";
import { type Run, complain, trainer } from "./training";

/** Input channels that are shown before the visitor asks for all. */
const SHOWN = 8;
/** Validation images that changes are judged on. */
const JUDGED = 200;
/** A difference of more than this share of the largest summand is no rounding. */
const ROUNDING = 1e-3;
const COLOURS = ["red", "green", "blue"];
const DOES: Record<string, string> = {
  ReLU: "below 0 becomes 0",
  ReLU6: "cut to 0 to 6",
  MaxPool2d: "largest of each window",
  AvgPool2d: "mean of each window",
  AdaptiveAvgPool2d: "mean of each window" };
const MOVES: Record<string, [number, number]> = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

/** How a value comes about. */
interface Way {
  /** A convolution, or the first layer behind others where none comes first; then the layers behind it. */
  layers: [LayerNode, ...LayerNode[]];
  isConv: boolean;
  /** What the first of them reads. */
  inputs: number[];
}

/** What the first layer's map is the sum of. */
interface Summand {
  name: string;
  channel: number;
  input: Float32Array;
  shape: Shape;
  /** Empty where nothing is multiplied. */
  filter: Float32Array;
  map: Float32Array;
}

interface Sums {
  looked: Looked;
  place: MapPlace;
  way: Way;
  summands: Summand[];
  /** What each layer does. */
  does: string[];
}

class Picture {
  readonly canvas = make("canvas", { role: "img" });
  readonly outlined = new Outlined(this.canvas);
  readonly numbers = make("span", { class: "hint" });

  draw(name: string, values: Float32Array, [, height, width]: Shape, scale: Scale): void {
    drawMap(this.canvas, values, width, height, scale);
    const { min, max } = rangeOf(values);
    setText(this.numbers, `${short(min)} to ${short(max)}`);
    this.canvas.setAttribute("aria-label", `${name}: ${this.numbers.textContent}`);
  }
}

/** An input channel, its filter, what they give, and the products of one cell. */
class Term {
  readonly input = new Picture();
  readonly filter = new Picture();
  readonly sum = new Picture();
  readonly name = make("b");
  readonly products = make("table", { class: "products" });
  readonly element = make(
    "div",
    { class: "term" },
    make("p", {}, this.name, " ", this.sum.numbers),
    make("div", { class: "term-maps" }, this.input.outlined.element, sign("\u2217"), this.filter.canvas, sign("="), this.sum.outlined.element),
    this.products,
  );
}

class Inside {
  #card = byId("inside", HTMLElement);
  #chain = byId("inside-chain", HTMLElement);
  #terms = byId("inside-terms", HTMLElement);
  #equation = byId("inside-equation", HTMLElement);
  #more = byId("inside-all", HTMLButtonElement);
  #off = byId("inside-off", HTMLButtonElement);
  #judge = byId("inside-judge", HTMLButtonElement);
  #cost = byId("inside-cost", HTMLElement);

  #place: MapPlace | null = null;
  #way: Way | null = null;
  #looked: Looked | null = null;
  #sums: Sums | null = null;
  #steps: { picture: Picture; does: HTMLElement }[] = [];
  #pool: Term[] = [];
  /** Which summands are shown. */
  #order: number[] = [];
  #isAll = false;
  /** Row and column of the cell that is taken apart. */
  #cell: [number, number] = [0, 0];
  /** Whether the pointer leaves the cell as it is. */
  #isHeld = false;
  #opener: Element | null = null;
  #isAsking = false;
  #isStale = false;

  constructor() {
    lens.wish(() => this.#values());
    on("map", (place) => this.#choose(place));
    on("made", ({ description, goesOn }) => {
      this.#looked = null;
      // One that goes on has the same layers.
      if (!goesOn) {
        this.#remake(description);
      }
    });
    on("changes", () => {
      setText(this.#cost, "");
      this.#showChanges();
    });
    on("looked", (looked) => {
      this.#looked = looked;
      if (this.#place) {
        void this.#ask();
      }
    });
    const close = () => this.#place && tell("map", null);
    onEscape(close);
    const press = (id: string, listener: () => unknown) => byId(id, HTMLButtonElement).addEventListener("click", listener);
    press("inside-close", close);
    press("inside-previous", () => this.#move(-1));
    press("inside-next", () => this.#move(1));
    press("inside-all", () => {
      this.#isAll = !this.#isAll;
      this.#sums = null;
      void this.#ask();
    });
    press("inside-off", () => this.#place && changes.toggle(this.#place));
    press("inside-judge", () => this.#measure());
  }

  /** What has to be read of the image. */
  #values(): number[] {
    return this.#way ? [...this.#way.inputs, ...this.#way.layers.map(({ value }) => value)] : [];
  }

  #move(by: number): void {
    if (this.#place) {
      tell("map", { ...this.#place, channel: this.#place.channel + by });
    }
  }

  #choose(place: MapPlace | null): void {
    const before = this.#place;
    const description = trainer.run?.description;
    this.#place = place;
    if (!place || !description) {
      const hadFocus = this.#card.contains(document.activeElement);
      this.#card.hidden = true;
      this.#way = null;
      tell("field", null);
      if (hadFocus && this.#opener instanceof HTMLElement) {
        this.#opener.focus();
      }
      return;
    }
    if (!before) {
      this.#opener = document.activeElement;
    }
    if (!this.#way || before?.value !== place.value) {
      this.#build(wayTo(place.value, description));
    }
    const { name, block, output } = known(nodeOf(place.value, description));
    setText(byId("inside-place", HTMLElement), `${name}${block === null ? "" : ` of block ${block + 1}`}, channel ${place.channel}`);
    byId("inside-previous", HTMLButtonElement).disabled = place.channel === 0;
    byId("inside-next", HTMLButtonElement).disabled = place.channel + 1 >= output[0];
    this.#showChanges();
    reveal(this.#card);
    if (this.#values().every((value) => this.#looked?.values.has(value))) {
      void this.#ask();
    } else {
      lens.again();
    }
  }

  /** Another network: what was read belongs to the one before. */
  #remake({ nodes }: Description): void {
    this.#way = null;
    const place = this.#place;
    if (place) {
      const node = nodes[place.value - 1];
      const [channels, height, width] = node?.output ?? [0, 0, 0];
      // A view of the image comes from no layer.
      tell("map", node && !node.is_view && place.channel < channels && height * width > 1 ? place : null);
    }
  }

  /** The layers of another way, without numbers yet. */
  #build(way: Way): void {
    const [base] = way.layers;
    this.#way = way;
    this.#sums = null;
    this.#isAll = this.#isHeld = false;
    this.#cell = [base.output[1] >> 1, base.output[2] >> 1];
    this.#card.classList.toggle("conv", way.isConv);
    this.#terms.replaceChildren();
    this.#equation.replaceChildren();
    this.#terms.style.setProperty("--kernel", String(base.kernel_size ?? 1));
    this.#steps = way.layers.map(() => ({ picture: new Picture(), does: make("span", { class: "hint" }) }));
    const figures = way.layers.map((node, at) => {
      const { picture, does } = known(this.#steps[at]);
      if (way.isConv && hasCells(node, base)) {
        this.#listen(picture, node.name);
      }
      return make("figure", {}, picture.outlined.element, make("figcaption", {}, make("b", {}, node.name), does, picture.numbers));
    });
    this.#chain.replaceChildren(...figures.flatMap((figure, at) => (at > 0 ? [sign("\u2192"), figure] : [figure])));
  }

  #listen({ outlined: { element }, canvas }: Picture, name: string): void {
    const label = `${name}: arrow keys choose a cell`;
    const attributes = { tabindex: "0", role: "application", class: "outlined cells", "aria-label": label, "aria-describedby": "inside-words" };
    Object.entries(attributes).forEach((attribute) => element.setAttribute(...attribute));
    const point = (row: number, column: number) => {
      const within = (at: number, cells: number) => Math.max(0, Math.min(cells - 1, Math.floor(at)));
      this.#cell = [within(row, canvas.height), within(column, canvas.width)];
      this.#showCell();
      void this.#ask();
    };
    const pointed = ({ offsetX, offsetY }: MouseEvent) => point((offsetY / canvas.clientHeight) * canvas.height, (offsetX / canvas.clientWidth) * canvas.width);
    canvas.addEventListener("pointermove", (event) => !this.#isHeld && pointed(event));
    canvas.addEventListener("click", (event) => {
      this.#isHeld = !this.#isHeld;
      pointed(event);
    });
    element.addEventListener("keydown", (event) => {
      const move = MOVES[event.key];
      if (move) {
        event.preventDefault();
        this.#isHeld = true;
        point(this.#cell[0] + move[0], this.#cell[1] + move[1]);
      }
    });
  }

  /** Outlines the cell and what it sees of the image. */
  #showCell(): void {
    if (!this.#way?.isConv) {
      tell("field", null);
      return;
    }
    const { layers } = this.#way;
    const [base] = layers;
    const [row, column] = this.#cell;
    layers.forEach((node, at) => {
      const cell = { left: column, top: row, width: 1, height: 1 };
      this.#steps[at]?.picture.outlined.mark(hasCells(node, base) ? cell : null, node.output[2], node.output[1]);
    });
    const field = fieldOf(base, row, column);
    const { left, top, width: size } = field;
    tell("field", field);
    const [, height = 0, width = 0] = trainer.run?.description.input ?? [];
    const beyond = Math.min(top, left) < 0 || top + size > height || left + size > width ? " and padding around it" : "";
    setText(byId("inside-words", HTMLElement), `Row ${row}, column ${column} sees rows ${span(top, size, height)}, columns ${span(left, size, width)} of the image${beyond}.`);
  }

  /** Asks for what is not drawn yet: one question at a time, whose answer is dropped where another question came meanwhile. */
  async #ask(): Promise<void> {
    this.#isStale = true;
    if (this.#isAsking) {
      return;
    }
    this.#isAsking = true;
    this.#card.ariaBusy = "true";
    try {
      while (this.#isStale) {
        this.#isStale = false;
        const answer = await trainer.ask((run) => this.#read(run));
        // Of another map nothing may have been asked yet: its values are read first.
        if (answer && answer[0].place === this.#place) {
          const [sums, cell] = answer;
          if (sums !== this.#sums) {
            this.#draw(sums);
          }
          // The pointer may have moved on.
          if (cell && !this.#isStale) {
            this.#drawCell(sums, cell);
          }
        }
      }
    } catch (error) {
      complain(error);
    } finally {
      this.#isAsking = false;
      this.#card.ariaBusy = "false";
    }
  }

  /** In its turn of the queue the session still has what was looked at last. */
  async #read(run: Run): Promise<[Sums, Cell | null] | null> {
    // What is chosen while this reads may be of another map.
    const [looked, place, way, at] = [this.#looked, this.#place, this.#way, this.#cell];
    if (looked?.run !== run || !place || !way || !this.#values().every((value) => looked.values.has(value))) {
      return null;
    }
    const isKnown = this.#sums?.looked === looked && this.#sums.place === place;
    const sums = isKnown && this.#sums ? this.#sums : await readSums(looked, place, way);
    const cell = way.isConv ? (JSON.parse(await run.session.cell(way.layers[0].value, place.channel, ...at)) as Cell) : null;
    return [sums, cell];
  }

  #draw(sums: Sums): void {
    const { looked, place, way, summands, does } = sums;
    this.#sums = sums;
    const maps = way.layers.map((node) => channelOf(looked, node.value, place.channel));
    // One scale for all that is added and for the sum.
    const range = [...summands.map(({ map }) => map), maps[0] ?? new Float32Array()].map(rangeOf).reduce(wider);
    const scale = scaleOf(range, way.isConv || range.min < 0);
    way.layers.forEach((node, at) => {
      const [step, map] = [this.#steps[at], maps[at]];
      if (step && map) {
        step.picture.draw(`${node.name}, channel ${place.channel}`, map, node.output, at === 0 ? scale : scaleOf(rangeOf(map), node.signed));
        setText(step.does, does[at] ?? "");
      }
    });
    const ends = scale.signed ? `blue ${short(-scale.end)}, white 0, red ${short(scale.end)}` : `dark 0, light ${short(scale.end)}`;
    setText(byId("inside-scale", HTMLElement), `One scale for all that is added and their sum: ${ends}.`);
    this.#drawTerms(sums, scale);
    this.#showCell();
  }

  #drawTerms({ looked, way, summands }: Sums, scale: Scale): void {
    const strengths = summands.map(({ map }) => map.reduce((sum, value) => sum + Math.abs(value), 0));
    const hasMore = summands.length > SHOWN;
    this.#order = summands.map((_, at) => at);
    if (hasMore) {
      this.#order.sort((a, b) => (strengths[b] ?? 0) - (strengths[a] ?? 0));
      this.#order.splice(this.#isAll ? Infinity : SHOWN);
    }
    this.#more.hidden = !hasMore;
    setText(this.#more, this.#isAll ? "Show fewer" : `Show all ${summands.length}`);
    const title = way.isConv ? "What each input channel adds" : "What is added up";
    setText(byId("inside-terms-title", HTMLElement), hasMore ? `${title}, ${this.#isAll ? "the most first" : `the ${SHOWN} of ${summands.length} that add most`}` : title);
    const [from = 0] = way.inputs;
    const ofInput = way.isConv ? scaleOf(rangeOf(looked.values.get(from) ?? new Float32Array()), nodeOf(from, looked.run.description)?.signed ?? true) : scale;
    const ofFilter = scaleOf(summands.map(({ filter }) => rangeOf(filter)).reduce(wider), true);
    while (this.#pool.length < this.#order.length) {
      this.#pool.push(new Term());
    }
    const elements = this.#order.map((at, place) => {
      const [term, { name, input, shape, filter, map }] = [known(this.#pool[place]), known(summands[at])];
      setText(term.name, name);
      term.input.draw(`${name}, input`, input, shape, ofInput);
      term.sum.draw(`${name}, what it adds`, map, way.layers[0].output, scale);
      if (way.isConv) {
        const side = Math.sqrt(filter.length);
        term.filter.draw(`${name}, filter`, filter, [1, side, side], ofFilter);
      }
      return term.element;
    });
    if (elements.length !== this.#terms.childElementCount) {
      this.#terms.replaceChildren(...elements);
    }
  }

  #drawCell({ way, summands, looked, place, does }: Sums, cell: Cell): void {
    const { kernel: [height, width], start: [top, left], inputs, products, sums, output } = cell;
    const [row, column] = this.#cell;
    const [base] = way.layers;
    const largest = Math.max(...products.map(Math.abs));
    let others = inputs.length;
    let rest = sums.reduce(plus, 0);
    const parts: string[] = [];
    this.#order.forEach((at, number) => {
      const [term, { channel, shape }] = [known(this.#pool[number]), known(summands[at])];
      const input = inputs.indexOf(channel);
      const sum = sums[input] ?? NaN;
      term.input.outlined.mark({ left, top, width, height }, shape[2], shape[1]);
      term.sum.outlined.mark({ left: column, top: row, width: 1, height: 1 }, base.output[2], base.output[1]);
      const rows = Array.from({ length: height }, (_, y) => {
        const cells = Array.from({ length: width }, (_, x) => {
          const isPadding = top + y < 0 || left + x < 0 || top + y >= shape[1] || left + x >= shape[2];
          return productCell(cell, (input * height + y) * width + x, largest, isPadding);
        });
        return make("tr", {}, ...cells);
      });
      term.products.replaceChildren(make("caption", {}, "value \u00d7 weight, sum ", make("b", {}, short(sum))), make("tbody", {}, ...rows));
      if (number < SHOWN) {
        others--;
        rest -= sum;
        parts.push(added(sum));
      }
    });
    if (others > 0) {
      parts.push(`${added(rest)} (${others} more)`);
    }
    if (hasBias(base)) {
      parts.push(`${added(cell.bias)} (bias)`);
    }
    const lines = line(base.name, `${parts.join(" ").replace(/^\+ |(?<=^\u2212) /, "")} = `, cell.sum);
    if (Math.abs(output - cell.sum) > ROUNDING * Math.max(largest, Math.abs(cell.bias))) {
      lines.push(make("dd", { class: "error" }, `The device made ${short(output)} of it: more of a difference than rounding explains.`));
    }
    let before = output;
    for (const [at, node] of way.layers.entries()) {
      if (at > 0 && hasCells(node, base)) {
        const value = channelOf(looked, node.value, place.channel)[row * node.output[2] + column] ?? NaN;
        lines.push(...line(node.name, node.name === "BatchNorm2d" ? `${short(before)} ${does[at]} = ` : `${does[at]}: `, value));
        before = value;
      }
    }
    this.#equation.replaceChildren(...lines);
  }

  /** Whether the channel is off, and whether there is something whose cost can be measured. */
  #showChanges(): void {
    const [place, run] = [this.#place, trainer.run];
    // Another network may have no such layer.
    if (!place || !run || !nodeOf(place.value, run.description)) {
      return;
    }
    const isOff = changes.isOff(place);
    const count = changes.now.off.length + changes.now.initial.length;
    this.#off.hidden = !run.session.can_switch_off(place.value);
    setText(this.#off, isOff ? "Switch this channel on" : "Switch this channel off");
    setText(byId("inside-state", HTMLElement), isOff ? "This channel is off: what follows gets 0 from it." : "");
    this.#judge.hidden = count === 0;
    setText(this.#judge, count > 1 ? `Measure what all ${count} changes cost` : "Measure what it costs");
  }

  async #measure(): Promise<void> {
    const { now } = changes;
    let words = "";
    this.#judge.disabled = true;
    setText(this.#cost, "Measuring\u2026");
    try {
      const found = await trainer.ask((run) => run.session.judge_changes(JUDGED));
      if (found !== null && now === changes.now) {
        const judged = JSON.parse(found) as Judged;
        words = `At step ${count(trainer.step)}: ${costWords(judged)}; ${verdictWords(judged)}.`;
      }
    } catch (error) {
      complain(error);
    }
    this.#judge.disabled = false;
    setText(this.#cost, words);
  }
}

function known<T>(found: T | undefined): T {
  if (found === undefined) {
    throw new Error("the network has no such layer");
  }
  return found;
}

function nodeOf(value: number, { nodes }: Description): LayerNode | undefined {
  return nodes[value - 1];
}

/** A view has the numbers of what stands before it. */
function realOf(value: number, description: Description): number {
  const node = nodeOf(value, description);
  return node?.is_view ? realOf(node.inputs[0] ?? 0, description) : value;
}

/** Back to the convolution that a value comes from, or to where there is no single layer before. */
function wayTo(value: number, description: Description): Way {
  const node = known(nodeOf(realOf(value, description), description));
  const isConv = node.name === "Conv2d";
  const inputs = node.inputs.map((input) => realOf(input, description));
  const [input = 0] = inputs;
  if (isConv || inputs.length > 1 || input === 0) {
    return { layers: [node], isConv, inputs };
  }
  const before = wayTo(input, description);
  return { ...before, layers: [...before.layers, node] };
}

function hasCells({ output }: LayerNode, base: LayerNode): boolean {
  return output[1] === base.output[1] && output[2] === base.output[2];
}

function hasBias({ tensors }: LayerNode): boolean {
  return tensors.some(([key]) => key.endsWith("bias"));
}

function channelOf({ values, run }: Looked, value: number, channel: number): Float32Array {
  return mapOf(values.get(value) ?? new Float32Array(), channel, nodeOf(value, run.description)?.output ?? run.description.input);
}

async function readSums(looked: Looked, place: MapPlace, way: Way): Promise<Sums> {
  const { session, description } = looked.run;
  const { channel } = place;
  const summand = (value: number, channel: number, name: string, filter: Float32Array, map?: Float32Array): Summand => {
    const input = channelOf(looked, value, channel);
    const shape = nodeOf(value, description)?.output ?? description.input;
    return { name: value === 0 ? `${COLOURS[channel]} channel` : name, channel, input, shape, filter, map: map ?? input };
  };
  const does: string[] = [];
  for (const node of way.layers) {
    const [factor = NaN, offset = NaN] = node.name === "BatchNorm2d" ? session.affine(node.value, channel) : [];
    does.push(node.name === "BatchNorm2d" ? `\u00d7 ${short(factor)} ${added(offset)}` : (DOES[node.name] ?? ""));
  }
  const [base] = way.layers;
  if (!way.isConv) {
    const name = (value: number) => `${nodeOf(value, description)?.name} ${nodeOf(value, description)?.key}`;
    return { looked, place, way, does, summands: way.inputs.map((value) => summand(value, channel, name(value), new Float32Array())) };
  }
  const terms = await session.terms(base.value, channel);
  const { inputs, maps, filters, bias } = terms;
  terms.free();
  const size = filters.length / inputs.length;
  const [from = 0] = way.inputs;
  const summands = [...inputs].map((input, at) =>
    summand(from, input, `channel ${input}`, filters.subarray(at * size, (at + 1) * size), mapOf(maps, at, base.output)),
  );
  does[0] = `sum of ${inputs.length} maps${hasBias(base) ? ` ${added(bias)}` : ""}`;
  return { looked, place, way, does, summands };
}

function wider(a: Range, b: Range): Range {
  return { min: Math.min(a.min, b.min), max: Math.max(a.max, b.max) };
}

function plus(a: number, b: number): number {
  return a + b;
}

/** A number as a summand: with its sign before it. */
function added(value: number): string {
  return value < 0 ? `\u2212 ${short(-value)}` : `+ ${short(value)}`;
}

function sign(text: string): HTMLElement {
  return make("div", { class: "sign", "aria-hidden": "true" }, text);
}

function line(name: string, how: string, value: number): HTMLElement[] {
  return [make("dt", {}, name), make("dd", {}, how, make("b", {}, short(value)))];
}

function productCell({ values, weights, products }: Cell, at: number, largest: number, isPadding: boolean): HTMLElement {
  const product = products[at] ?? NaN;
  const value = isPadding ? "padding" : short(values[at] ?? NaN);
  const cell = make("td", { class: isPadding ? "padding" : product < 0 ? "less" : "more" }, `${value}`, make("br"), `\u00d7 ${short(weights[at] ?? NaN)}`, make("b", {}, short(product)));
  cell.style.setProperty("--share", `${Math.round((60 * Math.abs(product)) / (largest || 1))}%`);
  return cell;
}

export function startInside(): void {
  new Inside();
}
