// Loss and accuracy over the steps, on training and validation images.

import { byId, count, percent, setText, short } from "./dom";
import { sized } from "./maps";
import { on } from "./state";
import { colour } from "./theme";

interface Point {
  step: number;
  value: number;
}

/** More points than this are merged in pairs. */
const MOST_POINTS = 4000;
/** Steps over which the training curve is smoothed. */
const SMOOTH_STEPS = 12;

class Series {
  points: Point[] = [];

  add(step: number, value: number): void {
    if (!Number.isFinite(value)) {
      return;
    }
    this.points.push({ step, value });
    if (this.points.length > MOST_POINTS) {
      this.points = this.points.filter((_, at) => at % 2 === 1);
    }
  }

  get last(): Point | undefined {
    return this.points.at(-1);
  }

  /** The point nearest to a step. */
  at(step: number): Point | undefined {
    let best: Point | undefined;
    for (const point of this.points) {
      if (!best || Math.abs(point.step - step) < Math.abs(best.step - step)) {
        best = point;
      }
    }
    return best;
  }
}

/** A mean in which each step counts less the longer it is ago; the first ones are not drawn to 0. */
class Smooth {
  #sum = 0;
  #weight = 0;

  add(value: number, steps: number): number {
    const keep = Math.exp(-steps / SMOOTH_STEPS);
    this.#sum = this.#sum * keep + value * (1 - keep);
    this.#weight = this.#weight * keep + (1 - keep);
    return this.#sum / this.#weight;
  }
}

/** Round numbers between two ends. */
function ticks(from: number, to: number, most: number): number[] {
  const rough = (to - from) / most;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * ([1, 2, 5, 10].find((factor) => factor * power >= rough) ?? 10);
  const found: number[] = [];
  for (let at = Math.ceil(from / step - 1e-9); at * step <= to + step * 1e-6; at++) {
    found.push(at * step);
  }
  return found;
}

class Chart {
  raw = new Series();
  train = new Series();
  val = new Series();
  #smooth = new Smooth();
  #hover: number | null = null;
  #due = false;

  constructor(
    readonly canvas: HTMLCanvasElement,
    readonly readout: HTMLElement,
    readonly name: string,
    /** The ends of the vertical axis, where they are fixed. */
    readonly ends: [number, number] | null,
    readonly text: (value: number) => string,
  ) {
    canvas.addEventListener("pointermove", (event) => {
      this.#hover = event.offsetX;
      this.drawSoon();
    });
    canvas.addEventListener("pointerleave", () => {
      this.#hover = null;
      this.drawSoon();
    });
    new ResizeObserver(() => this.drawSoon()).observe(canvas);
  }

  clear(): void {
    [this.raw, this.train, this.val] = [new Series(), new Series(), new Series()];
    this.#smooth = new Smooth();
    this.drawSoon();
  }

  addTrain(step: number, value: number, steps: number): void {
    if (Number.isFinite(value)) {
      this.raw.add(step, value);
      this.train.add(step, this.#smooth.add(value, steps));
      this.drawSoon();
    }
  }

  addVal(step: number, value: number): void {
    this.val.add(step, value);
    this.drawSoon();
  }

  drawSoon(): void {
    if (!this.#due) {
      this.#due = true;
      requestAnimationFrame(() => {
        this.#due = false;
        this.#draw();
      });
    }
  }

  #draw(): void {
    const [width, height] = [this.canvas.clientWidth, this.canvas.clientHeight];
    if (width === 0) {
      return;
    }
    const ratio = Math.max(1, window.devicePixelRatio);
    const drawing = sized(this.canvas, Math.round(width * ratio), Math.round(height * ratio));
    drawing.setTransform(ratio, 0, 0, ratio, 0, 0);
    const [left, right, top, bottom] = [40, width - 10, 8, height - 22];
    const all = [this.raw, this.train, this.val].flatMap(({ points }) => points.map(({ value }) => value));
    const last = Math.max(10, this.raw.last?.step ?? 0, this.val.last?.step ?? 0);
    let [low, high] = this.ends ?? [0, 1];
    if (!this.ends && all.length > 0) {
      // A few large losses at the start must not press everything else flat.
      const sorted = [...all].sort((a, b) => a - b);
      high = 1.08 * Math.max(sorted[Math.floor(0.985 * (sorted.length - 1))] ?? 1, this.val.last?.value ?? 0, 1e-6);
    }
    const x = (step: number) => left + ((right - left) * step) / last;
    const y = (value: number) => bottom - ((bottom - top) * (Math.min(value, high) - low)) / (high - low);

    drawing.font = `11px ${getComputedStyle(this.canvas).fontFamily}`;
    drawing.lineWidth = 1;
    drawing.textAlign = "right";
    drawing.textBaseline = "middle";
    for (const value of ticks(low, high, 4)) {
      drawing.strokeStyle = colour("--line");
      drawing.beginPath();
      drawing.moveTo(left, Math.round(y(value)) + 0.5);
      drawing.lineTo(right, Math.round(y(value)) + 0.5);
      drawing.stroke();
      drawing.fillStyle = colour("--muted");
      drawing.fillText(this.text(value), left - 6, y(value));
    }
    drawing.textBaseline = "top";
    const steps = ticks(0, last, Math.max(2, Math.floor(width / 90)));
    steps.forEach((step, at) => {
      drawing.textAlign = step === 0 ? "left" : at === steps.length - 1 && x(step) > right - 20 ? "right" : "center";
      drawing.fillText(step === 0 ? "0 steps" : count(step), x(step), bottom + 6);
    });

    const line = (points: Point[], stroke: string, wide: number, alpha: number) => {
      drawing.globalAlpha = alpha;
      drawing.strokeStyle = stroke;
      drawing.lineWidth = wide;
      drawing.lineJoin = "round";
      drawing.beginPath();
      points.forEach(({ step, value }) => drawing.lineTo(x(step), y(value)));
      drawing.stroke();
      drawing.globalAlpha = 1;
    };
    const dot = ({ step, value }: Point, fill: string, radius: number) => {
      drawing.fillStyle = fill;
      drawing.beginPath();
      drawing.arc(x(step), y(value), radius, 0, 2 * Math.PI);
      drawing.fill();
    };
    const [trainColour, valColour] = [colour("--train"), colour("--val")];
    line(this.raw.points, trainColour, 1, 0.28);
    line(this.train.points, trainColour, 2, 1);
    line(this.val.points, valColour, 2, 1);
    if (this.val.points.length < 60) {
      this.val.points.forEach((point) => dot(point, valColour, 2.5));
    }
    if (all.length === 0) {
      drawing.textAlign = "center";
      drawing.textBaseline = "middle";
      drawing.fillStyle = colour("--muted");
      drawing.font = drawing.font.replace("11px", "13px");
      drawing.fillText("Press Start to draw the curves", (left + right) / 2, (top + bottom) / 2);
    }

    let [train, val] = [this.train.last, this.val.last];
    let where = "";
    if (this.#hover !== null && all.length > 0) {
      const step = Math.round((last * (Math.min(right, Math.max(left, this.#hover)) - left)) / (right - left));
      train = this.train.at(step);
      val = this.val.at(step);
      where = `step ${count(step)}: `;
      drawing.strokeStyle = colour("--strong-line");
      drawing.lineWidth = 1;
      drawing.beginPath();
      drawing.moveTo(Math.round(x(step)) + 0.5, top);
      drawing.lineTo(Math.round(x(step)) + 0.5, bottom);
      drawing.stroke();
      if (train) dot(train, trainColour, 3.5);
      if (val) dot(val, valColour, 3.5);
    }
    const parts = [train && `training ${this.text(train.value)}`, val && `validation ${this.text(val.value)}`];
    const words = parts.filter(Boolean).join(", ");
    setText(this.readout, words && where + words);
    this.canvas.setAttribute("aria-label", `${this.name} over ${count(last)} steps: ${words || "nothing yet"}`);
  }
}

export function startCurves(): void {
  const canvas = (id: string) => byId(id, HTMLCanvasElement);
  const readout = (id: string) => byId(id, HTMLElement);
  const loss = new Chart(canvas("loss-chart"), readout("loss-readout"), "Loss", null, short);
  const share = (value: number) => percent(value);
  const accuracy = new Chart(canvas("accuracy-chart"), readout("accuracy-readout"), "Accuracy", [0, 1], share);
  let before = 0;
  on("made", ({ goesOn }) => {
    if (!goesOn) {
      before = 0;
      loss.clear();
      accuracy.clear();
    }
  });
  on("steps", (steps) => {
    const done = Math.max(1, steps.step - before);
    before = steps.step;
    loss.addTrain(steps.step, steps.loss, done);
    accuracy.addTrain(steps.step, steps.accuracy, done);
  });
  on("scores", (scores) => {
    loss.addVal(scores.step, scores.loss);
    accuracy.addVal(scores.step, scores.accuracy);
  });
  on("theme", () => {
    loss.drawSoon();
    accuracy.drawSoon();
  });
}
