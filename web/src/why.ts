// Why the network takes the chosen image for what it takes it for: what each channel of the last block adds, and saliency maps beside
// those of a network with random weights.

import { byId, count, make, setText, short } from "./dom";
import type { Decision, Scores } from "./engine-types";
import { lens } from "./lens";
import { drawBars, drawImage, drawMap, rangeOf, scaleOf, sized } from "./maps";
import { on } from "./state";
import { type Run, type Viewer, trainer } from "./training";

/** How much of the image shows through its map. */
const IMAGE_SHARE = 0.35;

class Why implements Viewer {
  // Only when asked: some methods take a hundred images.
  readonly period = Infinity;
  #asked = false;
  /** Counts what was chosen to be explained: images, and changes of the network. */
  #subject = 0;
  #scores: Scores | null = null;
  #button = byId("why-ask", HTMLButtonElement);
  #method = byId("why-method", HTMLSelectElement);
  #result = byId("why-result", HTMLElement);

  constructor() {
    this.#button.addEventListener("click", () => {
      this.#asked = true;
      this.#button.disabled = true;
      setText(this.#button, "Working\u2026");
      trainer.refresh(this);
    });
    const forget = () => {
      this.#subject++;
      this.#result.replaceChildren();
    };
    on("subject", forget);
    on("changes", forget);
    on("made", () => {
      this.#result.replaceChildren();
      this.#scores = null;
    });
    on("scores", (scores) => (this.#scores = scores));
  }

  async refresh(run: Run): Promise<void> {
    if (!this.#asked) {
      return;
    }
    this.#asked = false;
    try {
      await this.#explain(run);
    } finally {
      this.#button.disabled = false;
      setText(this.#button, "Explain this image");
    }
  }

  async #explain(run: Run): Promise<void> {
    const { session, data, description } = run;
    const number = this.#subject;
    const { rgb } = lens.subject(run);
    const explanation = await session.explain(rgb, this.#method.value);
    const { map, control } = explanation;
    const decision = JSON.parse(explanation.found) as Decision;
    explanation.free();
    const { similarity, dependence, signed } = decision;
    const [target, against] = [decision.target, decision.against].map((label) => data.classes[label] ?? "");
    const difference = short(decision.logit_difference);
    const parts = [
      ...standing(this.#scores),
      make("p", {}, `For ${target}, against ${against}, at step ${count(trainer.step)}: their scores (logits) differ by ${difference}.`),
      make("div", { class: "why-maps" }, this.#over(rgb, map, data.size, signed, "This network"), this.#over(rgb, control, data.size, signed, "Random weights")),
      make("p", { class: "hint" }, `${signed ? `Red speaks for ${target}, blue against it` : "The lighter, the more it matters"}. Each map has a scale of its own. ${sameness(dependence, similarity)}`),
      this.#ledger(decision, target ?? "", description.blocks.length),
    ];
    // Meanwhile the visitor may have chosen another image, or changed the network.
    if (number === this.#subject && trainer.run?.session === session) {
      this.#result.replaceChildren(...parts);
    }
  }

  /** A map over its image, which shows through in grey. */
  #over(rgb: Uint8Array, map: Float32Array, size: number, signed: boolean, title: string): HTMLElement {
    const range = rangeOf(map);
    const [image, colours] = [make("canvas"), make("canvas")];
    drawImage(image, rgb, size);
    drawMap(colours, map, size, size, scaleOf(range, signed));
    const canvas = make("canvas", { role: "img", "aria-label": `${title}: ${short(range.min)} to ${short(range.max)}` });
    const drawing = sized(canvas, size, size);
    drawing.drawImage(colours, 0, 0);
    drawing.globalAlpha = IMAGE_SHARE;
    drawing.filter = "grayscale(1)";
    drawing.drawImage(image, 0, 0);
    const numbers = make("span", {}, `${short(range.min)} to ${short(range.max)}`);
    return make("figure", {}, canvas, make("figcaption", {}, make("b", {}, title), " ", numbers));
  }

  #ledger({ exact, bias, channels, residual, logit_difference }: Decision, target: string, block: number): HTMLElement {
    const shares = Float32Array.from(channels, ({ share }) => share);
    const sum = channels.reduce((all, { share }) => all + share, 0);
    const canvas = make("canvas", { role: "img" });
    drawBars(canvas, shares, rangeOf(shares), 360);
    const strongest = channels.slice(0, 3).map(({ index, share }) => `channel ${index}: ${short(share)}`);
    canvas.setAttribute("aria-label", `Shares of the channels, the largest first: ${strongest.join(", ")}`);
    const words = exact
      ? `They add up to the decision exactly: ${short(sum)} from the channels and ${short(bias)} that is the same for every image make ${short(logit_difference)}.`
      : `Behind this block a layer is not linear, so the shares are approximate; ${short(residual)} is left over.`;
    return make(
      "div",
      { class: "part" },
      make("p", {}, make("b", {}, `What the ${count(channels.length)} channels of block ${block} add for ${target}`), strongest.join(", ")),
      canvas,
      make("p", { class: "hint" }, words),
    );
  }
}

/** Of a network that guesses there is nothing to explain but guesses. */
export function standing(scores: Scores | null): HTMLElement[] {
  if (scores?.standing === "better") {
    return [];
  }
  const known = scores ? `On ${scores.images} validation images this network was not shown` : "This network has not been shown";
  const words = `${known} to do better than always naming the commonest class: what it says may be guesses, and so may what explains it.`;
  return [make("p", { class: "error" }, words)];
}

function sameness(dependence: Decision["dependence"], similarity: number | null): string {
  const number = similarity === null ? "" : ` (rank correlation ${short(similarity)})`;
  switch (dependence) {
    case "same_as_untrained":
      return `Random weights give much the same map${number}: it shows the image, not the decision.`;
    case "differs":
      return `Random weights give another map${number}, as they must if it shows what this network has learned.`;
    case "too_few_values":
      return `The map has too few values to compare it with that of random weights${number}.`;
    case "control_empty":
      return "Random weights give an empty map, so the two cannot be compared.";
    default:
      return "The map has the same value everywhere: it shows nothing.";
  }
}

export function startWhy(): void {
  trainer.watch(new Why());
}
