// Numbers as colours: maps, filters and vectors on canvases.

import type { Shape } from "./engine-types";
import { colour } from "./theme";

export interface Range {
  min: number;
  max: number;
}

/** The least and largest finite number. */
export function rangeOf(values: Float32Array): Range {
  let min = Infinity;
  let max = -Infinity;
  for (const value of values) {
    if (value < min) min = value;
    if (value > max) max = value;
  }
  return min <= max ? { min, max } : { min: NaN, max: NaN };
}

/** A colour from OKLCH, in which equal steps look equal: red, green, blue as bytes. */
function oklch(lightness: number, chroma: number, hue: number): [number, number, number] {
  const a = chroma * Math.cos((hue * Math.PI) / 180);
  const b = chroma * Math.sin((hue * Math.PI) / 180);
  const l = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3;
  const m = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3;
  const s = (lightness - 0.0894841775 * a - 1.291485548 * b) ** 3;
  const byte = (linear: number) => {
    const light = Math.min(1, Math.max(0, linear));
    return Math.round(255 * (light <= 0.0031308 ? 12.92 * light : 1.055 * light ** (1 / 2.4) - 0.055));
  };
  return [
    byte(4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s),
    byte(-1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s),
    byte(-0.0041960863 * l - 0.7034186147 * m + 1.707614701 * s),
  ];
}

function ramp(colourAt: (share: number) => [number, number, number]): Uint8Array {
  const table = new Uint8Array(256 * 3);
  for (let step = 0; step < 256; step++) {
    table.set(colourAt(step / 255), step * 3);
  }
  return table;
}

/** From dark to light in one hue. */
const oneHue = ramp((share) => oklch(0.2 + 0.77 * share, 0.03 + 0.085 * Math.sin(Math.PI * share), 195));

/** From blue over white to red. */
const twoHues = ramp((share) => {
  const size = Math.abs(2 * share - 1);
  return oklch(0.985 - 0.5 * size, 0.2 * size ** 0.85, share < 0.5 ? 258 : 28);
});

export interface Scale {
  /** The number that has the last colour of the table. */
  end: number;
  signed: boolean;
}

/** The scale of a range: from 0 where nothing is negative, the same to both sides otherwise. */
export function scaleOf({ min, max }: Range, signed: boolean): Scale {
  const end = signed ? Math.max(Math.abs(min), Math.abs(max)) : max;
  return { end: Number.isFinite(end) && end > 0 ? end : 1, signed };
}

function paint(values: Float32Array, pixels: Uint8ClampedArray, { end, signed }: Scale): void {
  const table = signed ? twoHues : oneHue;
  const [factor, offset] = signed ? [127.5 / end, 127.5] : [255 / end, 0];
  for (let at = 0; at < values.length; at++) {
    const step = Math.round((values[at] ?? 0) * factor + offset);
    const from = Math.min(255, Math.max(0, step)) * 3;
    pixels[at * 4] = table[from] ?? 0;
    pixels[at * 4 + 1] = table[from + 1] ?? 0;
    pixels[at * 4 + 2] = table[from + 2] ?? 0;
    pixels[at * 4 + 3] = 255;
  }
}

export function context(canvas: HTMLCanvasElement): CanvasRenderingContext2D {
  const found = canvas.getContext("2d");
  if (!found) {
    throw new Error("the browser refuses to draw");
  }
  return found;
}

/** Gives a canvas this many pixels; it is emptied in any case. */
export function sized(canvas: HTMLCanvasElement, width: number, height: number): CanvasRenderingContext2D {
  if (canvas.width !== width || canvas.height !== height) {
    canvas.width = width;
    canvas.height = height;
  }
  const drawing = context(canvas);
  drawing.clearRect(0, 0, width, height);
  return drawing;
}

/** An image, red, green, blue row by row, pixel for pixel. */
export function drawImage(canvas: HTMLCanvasElement, rgb: Uint8Array, size: number): void {
  const drawing = sized(canvas, size, size);
  const image = drawing.createImageData(size, size);
  for (let at = 0; at < size * size; at++) {
    image.data.set(rgb.subarray(at * 3, at * 3 + 3), at * 4);
    image.data[at * 4 + 3] = 255;
  }
  drawing.putImageData(image, 0, 0);
}

/** One map, (H, W), value for value. */
export function drawMap(canvas: HTMLCanvasElement, values: Float32Array, width: number, height: number, scale: Scale): void {
  const drawing = sized(canvas, width, height);
  const image = drawing.createImageData(width, height);
  paint(values, image.data, scale);
  drawing.putImageData(image, 0, 0);
}

/** One channel of a layer's output, (C, H, W). */
export function mapOf(values: Float32Array, channel: number, [, height, width]: Shape): Float32Array {
  return values.subarray(channel * height * width, (channel + 1) * height * width);
}

/** Where tiles stand, in pixels of the page. */
export interface Grid {
  columns: number;
  /** Width and height of a map. */
  map: [number, number];
  /** Pixels of a value. */
  zoom: number;
  gap: number;
}

const scratch = document.createElement("canvas");

/** Maps, (tiles, H, W), beside and below each other. */
export function drawTiles(canvas: HTMLCanvasElement, values: Float32Array, tiles: number, grid: Grid, scale: Scale): void {
  const [width, height] = grid.map;
  const source = sized(scratch, width, height * tiles);
  const image = source.createImageData(width, height * tiles);
  paint(values.subarray(0, width * height * tiles), image.data, scale);
  source.putImageData(image, 0, 0);
  placeTiles(canvas, tiles, grid);
}

/** Filters of three channels in colour, (tiles, 3, H, W): grey is 0. */
export function drawColourTiles(canvas: HTMLCanvasElement, values: Float32Array, tiles: number, grid: Grid, end: number): void {
  const [width, height] = grid.map;
  const area = width * height;
  const source = sized(scratch, width, height * tiles);
  const image = source.createImageData(width, height * tiles);
  for (let tile = 0; tile < tiles; tile++) {
    for (let at = 0; at < area; at++) {
      for (let channel = 0; channel < 3; channel++) {
        const value = values[(tile * 3 + channel) * area + at] ?? 0;
        image.data[(tile * area + at) * 4 + channel] = 127.5 + (127.5 * value) / end;
      }
      image.data[(tile * area + at) * 4 + 3] = 255;
    }
  }
  source.putImageData(image, 0, 0);
  placeTiles(canvas, tiles, grid);
}

function placeTiles(canvas: HTMLCanvasElement, tiles: number, { columns, map: [width, height], zoom, gap }: Grid): void {
  const [wide, high] = [width * zoom + gap, height * zoom + gap];
  const rows = Math.ceil(tiles / columns);
  const drawing = sized(canvas, Math.min(tiles, columns) * wide - gap, rows * high - gap);
  drawing.imageSmoothingEnabled = false;
  const frame = colour("--line");
  for (let tile = 0; tile < tiles; tile++) {
    const [left, top] = [(tile % columns) * wide, Math.floor(tile / columns) * high];
    if (gap >= 4) {
      // A frame, without which a white map is lost on a white page.
      drawing.fillStyle = frame;
      drawing.fillRect(left - 1, top - 1, width * zoom + 2, height * zoom + 2);
    }
    drawing.drawImage(scratch, 0, tile * height, width, height, left, top, width * zoom, height * zoom);
  }
}

/** A vector as bars from a line at 0, up to `room` pixels wide. */
export function drawBars(canvas: HTMLCanvasElement, values: Float32Array, range: Range, room: number): void {
  const [high, gap] = [56, 1];
  const step = Math.max(2, Math.min(15, Math.floor(room / values.length)));
  const shown = Math.min(values.length, Math.floor(room / step));
  const ratio = Math.max(1, window.devicePixelRatio);
  const drawing = sized(canvas, Math.ceil(shown * step * ratio), Math.ceil(high * ratio));
  canvas.style.width = `${shown * step}px`;
  canvas.style.height = `${high}px`;
  const [min, max] = [Math.min(0, range.min), Math.max(0, range.max)];
  const span = max - min || 1;
  const zero = Math.round(((high - 2) * max) / span) + 1;
  drawing.setTransform(ratio, 0, 0, ratio, 0, 0);
  for (let at = 0; at < shown; at++) {
    const value = values[at] ?? 0;
    const length = (Math.abs(value) * (high - 2)) / span;
    drawing.fillStyle = value < 0 ? "#3f7fdb" : min < 0 ? "#d9553f" : colour("--accent");
    drawing.fillRect(at * step, value < 0 ? zero : zero - length, Math.max(1, step - gap), Math.max(0.5, length));
  }
  drawing.fillStyle = colour("--strong-line");
  drawing.fillRect(0, zero - 0.5, shown * step, 1);
}

/** The legend of a scale, from its least to its last colour. */
export function drawScale(canvas: HTMLCanvasElement, signed: boolean): void {
  const values = Float32Array.from({ length: 160 }, (_, at) => (signed ? at / 79.5 - 1 : at / 159));
  drawMap(canvas, values, 160, 1, { end: 1, signed });
}
