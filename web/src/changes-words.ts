// What changes cost, in words.

import type { Judged } from "./engine-types";

/** With one decimal at most, and a true minus sign. */
export function points(value: number): string {
  return String(Number(value.toFixed(1))).replace("-", "\u2212");
}

/** Accuracy before and after, and what was lost. */
export function costWords({ images, before, after, drop, low, high }: Judged): string {
  const change = `${points(100 * before)}% \u2192 ${points(100 * after)}% of ${images} validation images`;
  return `${change}; ${drop < 0 ? "gained" : "lost"} ${points(Math.abs(drop))} points (95% interval of the loss ${points(low)} to ${points(high)})`;
}

/** What follows from that. */
export function verdictWords({ verdict, conclusive }: Judged): string {
  if (!conclusive) {
    return "nothing follows: this network is not shown to do better than guessing";
  }
  return {
    in_use: "shown to be in use",
    not_missed: "not missed: less than a point is lost",
    undecided: "undecided",
  }[verdict];
}
