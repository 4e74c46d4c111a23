// Why the last maps look coarse: how many cells the maps of each block have, and how much of the image one value sees.

import { byId, make, many, percent, setText, span } from "./dom";
import type { LayerNode } from "./engine-types";
import { blockEnds } from "./flow";
import type { Looked } from "./lens";
import { drawImage, drawMap, rangeOf, scaleOf } from "./maps";
import { fieldOf } from "./network";
import { Outlined } from "./outlined";
import { on } from "./state";

interface Row {
  node: LayerNode;
  map: HTMLCanvasElement;
  image: HTMLCanvasElement;
  /** The strongest value of the map, and what it sees. */
  cell: Outlined;
  field: Outlined;
}

const rows: Row[] = [];

/** "3 × 3", which stays on one line. */
const times = (height: number, width: number) => `${height}\u00a0\u00d7\u00a0${width}`;

/** The flow shows these layers too, so their values are always read. */
function draw({ node, map, image, cell, field: marked }: Row, { values, run, subject }: Looked): void {
  const all = values.get(node.value);
  if (!all) {
    return;
  }
  const { size } = run.data;
  const [, height, width] = node.output;
  const area = height * width;
  const at = all.reduce((best, value, place) => (Math.abs(value) > Math.abs(all[best] ?? 0) ? place : best), 0);
  const [channel, row, column] = [Math.floor(at / area), Math.floor((at % area) / width), at % width];
  drawMap(map, all.subarray(channel * area, (channel + 1) * area), width, height, scaleOf(rangeOf(all), node.signed));
  drawImage(image, subject.rgb, size);
  const field = fieldOf(node, row, column);
  const strongest = all[at] ?? NaN;
  const isMarked = Number.isFinite(strongest) && strongest !== 0;
  cell.mark(!isMarked ? null : { left: column, top: row, width: 1, height: 1 }, width, height);
  marked.mark(isMarked ? field : null, size, size);
  const [rows, columns] = [span(field.top, field.height, size), span(field.left, field.width, size)];
  const none = strongest === 0 ? "All values are 0" : "The values are no numbers";
  map.setAttribute("aria-label", !isMarked ? none : `Channel ${channel}, strongest in row ${row}, column ${column}`);
  image.setAttribute("aria-label", !isMarked ? "The image" : `It sees rows ${rows}, columns ${columns} of the image`);
}

export function startCoarse(): void {
  on("made", ({ description }) => {
    const side = description.input[1];
    const told: string[] = [];
    const items = blockEnds(description).map((node, at) => {
      const [channels, height, width] = node.output;
      const [size, , offset] = node.field;
      const seen = Array.from({ length: height }, (_, row) => {
        const { top, height: rows } = fieldOf(node, row, 0);
        return Math.min(side, top + rows) - Math.max(0, top);
      });
      const sees = Math.max(...seen);
      // What lies beyond the edges is no part of the image.
      const most = offset > 0 || size > side ? "up to " : "";
      const share = percent((sees / side) ** 2, sees < 0.3 * side ? 1 : 0);
      told.push(`the maps of block ${at + 1} have ${times(height, width)} cells, each of which sees ${most}${share} of the image`);
      const [map, image] = [make("canvas", { role: "img" }), make("canvas", { role: "img" })];
      const [cell, field] = [new Outlined(map), new Outlined(image)];
      rows[at] = { node, map, image, cell, field };
      const words = make(
        "div",
        {},
        make("a", { href: `#layer-${node.value}` }, `Block ${at + 1}`),
        make("p", {}, `${many(channels, "map")} of ${times(height, width)}`),
        make("p", {}, `One value sees ${most}${times(sees, sees)} of ${times(side, side)} pixels, ${share} of the image`),
      );
      return make("li", {}, cell.element, field.element, words);
    });
    rows.length = items.length;
    byId("coarse-blocks", HTMLOListElement).replaceChildren(...items);
    const ends = told.length > 1 ? [told[0], told.at(-1)] : told;
    setText(byId("coarse-answer", HTMLElement), `In this network ${ends.join("; ")}.`);
  });
  on("looked", (looked) => rows.forEach((row) => draw(row, looked)));
}
