// Are the last layers useless: what it costs to put one block back to untrained weights.

import { changes } from "./changes";
import { points, verdictWords } from "./changes-words";
import { byId, count, make, percent, setText } from "./dom";
import type { Changes, Judged, Scores } from "./engine-types";
import { on } from "./state";
import { JUDGED, type Run, trainer } from "./training";
import { standing } from "./why";
import { Work } from "./work";

interface Row {
  accuracy: HTMLElement;
  lost: HTMLElement;
  verdict: HTMLElement;
  look: HTMLButtonElement;
}

const rows: Row[] = [];
let scores: Scores | null = null;

const onlyBlock = (block: number): Changes => ({ off: [], initial: [block] });

/** What putting a block back costs. What was changed before is changed again when this is known, or failed. */
async function judge({ session }: Run, block: number): Promise<{ step: number; judged: Judged }> {
  try {
    session.set_changes(JSON.stringify(onlyBlock(block)));
    return { step: trainer.step, judged: JSON.parse(await session.judge_changes(JUDGED)) as Judged };
  } finally {
    session.set_changes(JSON.stringify(changes.now));
  }
}

function show({ accuracy, lost, verdict }: Row, judged: Judged): void {
  const { before, after, drop, low, high } = judged;
  setText(accuracy, `${percent(before, 1)}\u00a0\u2192 ${percent(after, 1)}`);
  setText(lost, `${points(drop)} (${points(low)}\u00a0to\u00a0${points(high)})`);
  // Why is said beside the table.
  setText(verdict, verdictWords(judged).replace(/:.*/, ""));
}

function clear(): void {
  rows.forEach(({ accuracy, lost, verdict }) => [accuracy, lost, verdict].forEach((cell) => setText(cell, "\u2013")));
}

async function measure(work: Work): Promise<void> {
  clear();
  let first: number | null = null;
  for (let block = 0; block < rows.length && work.isOn; block++) {
    work.tell(`Block ${block + 1} of ${rows.length}`, block / rows.length);
    const found = await trainer.ask((run) => judge(run, block));
    const row = rows[block];
    if (!found || !row || !work.isOn) {
      return;
    }
    const { step, judged } = found;
    first ??= step;
    if (step !== first) {
      work.stop("Stopped, as training went on.");
      return;
    }
    show(row, judged);
    if (block === rows.length - 1) {
      work.tell(`At step ${count(step)}, on ${judged.images} validation images.`, 1);
    }
  }
}

async function look(block: number): Promise<void> {
  const isThere = changes.now.initial.includes(block);
  await changes.set({ ...changes.now, initial: isThere ? [] : [block] });
  if (!isThere) {
    // What changes is shown there.
    byId("flow-scroll", HTMLElement).focus({ preventScroll: true });
    byId("flow-title", HTMLElement).scrollIntoView();
  }
}

export function startUseless(): void {
  const work = new Work(byId("useless-work", HTMLElement), "Put each block back to its start", measure);
  const train = make("button", { type: "button" }, "Start training");
  train.addEventListener("click", () => trainer.start());
  const showStanding = () => {
    const doubt = standing(scores);
    train.hidden = doubt.length === 0 || document.documentElement.dataset.state !== "ready";
    byId("useless-standing", HTMLElement).replaceChildren(...doubt, train);
  };
  const showLook = () => {
    rows.forEach(({ look }, block) => look.setAttribute("aria-pressed", String(changes.now.initial.includes(block))));
  };
  on("made", ({ description, goesOn }) => {
    if (goesOn) {
      return;
    }
    work.stop("");
    scores = null;
    const items = description.blocks.map((_, block) => {
      const [accuracy, lost, verdict] = [make("td"), make("td"), make("td")];
      const button = make("button", { type: "button", class: "small", "aria-label": `Look at block ${block + 1} at its start` }, "Look");
      button.addEventListener("click", () => void look(block));
      rows[block] = { accuracy, lost, verdict, look: button };
      return make("tr", {}, make("th", { scope: "row" }, String(block + 1)), accuracy, lost, verdict, make("td", {}, button));
    });
    rows.length = items.length;
    byId("useless-rows", HTMLTableSectionElement).replaceChildren(...items);
    clear();
    showLook();
    showStanding();
  });
  on("changes", showLook);
  on("status", showStanding);
  on("scores", (found) => {
    scores = found;
    showStanding();
  });
}
