// How many layers are enough: networks of the first blocks, each trained anew beside the visitor's, which stays as it is.

import { first_blocks } from "../pkg/convscope_web.js";
import { byId, count, frame, make, many, messageOf, percent, setText } from "./dom";
import type { Architecture, Scores, Steps } from "./engine-types";
import { described, sameButDropout } from "./network";
import { type Made, on, settings } from "./state";
import { BUDGET, JUDGED, trainer } from "./training";
import { Work } from "./work";

/** Steps of each network at least, unless the visitor says otherwise. */
const LEAST_STEPS = 200;

interface Result extends Scores {
  blocks: number;
}

const body = byId("enough-rows", HTMLTableSectionElement);
const field = byId("enough-steps", HTMLInputElement);
const answer = byId("enough-answer", HTMLElement);

/** An accuracy as a bar, with its interval and what guessing gets. */
function bar({ accuracy, interval: [low, high], baseline }: Scores): HTMLElement {
  const part = (name: string, from: number, to: number) => {
    const made = make("i", { class: name });
    made.style.left = `${100 * from}%`;
    made.style.width = `${100 * (to - from)}%`;
    return made;
  };
  return make("div", { class: "interval-bar", "aria-hidden": "true" }, part("fill", 0, accuracy), part("range", low, high), part("base", baseline, baseline));
}

/** About how long something takes. */
function duration(seconds: number): string {
  return seconds < 90 ? many(Math.max(1, Math.round(seconds)), "second") : many(Math.round(seconds / 60), "minute");
}

/** What the results say together, and what not. */
function sum(results: Result[]): string {
  const best = results.reduce<Result | null>((best, one) => (best && best.accuracy >= one.accuracy ? best : one), null);
  const smallest = results.find(({ interval: [, high] }) => best && high >= best.interval[0]);
  if (!best || !smallest || results.length < 2) {
    return "";
  }
  if (best.standing !== "better") {
    return "None was shown to do better than always naming the commonest class. Train each for more steps.";
  }
  const beginning = `${many(best.blocks, "block")} did best here.`;
  if (best === results[0]) {
    return `${beginning} No smaller network was trained. This is no proof that it is enough.`;
  }
  return smallest === best
    ? `${beginning} The intervals of all smaller networks end below that one's. This is no proof.`
    : `${beginning} The smallest network whose interval overlaps that one's has ${many(smallest.blocks, "block")}. This is no proof that it is enough.`;
}

async function compare(work: Work): Promise<void> {
  const [run, options, steps, lr] = [trainer.run, trainer.options(), field.valueAsNumber, settings.lr];
  if (!run || !field.reportValidity()) {
    return;
  }
  const most = run.description.blocks.length;
  const step = trainer.step;
  const results: Result[] = [];
  body.replaceChildren();
  setText(answer, "");
  for (let blocks = 1; blocks <= most && work.isOn; blocks++) {
    const [size, rest] = [make("td", {}, "\u2013"), make("td", { colspan: 2 }, "preparing and training\u2026")];
    body.append(make("tr", {}, make("th", { scope: "row" }, String(blocks)), size, rest));
    const tell = (share: number) => work.tell(`${many(blocks, "block")} of ${most}`, (blocks - 1 + share) / most);
    tell(0);
    try {
      const architecture = first_blocks(run.architecture, blocks);
      const { parameters } = described(JSON.parse(architecture) as Architecture);
      setText(size, count(parameters));
      const found = await trainer.apart(architecture, options, async (use) => {
        let [images, seconds, done] = [0, 0, 0];
        while (done < steps && work.isOn) {
          const left = steps - done;
          const slice = JSON.parse(await use((session) => session.train(lr, left, BUDGET, false))) as Steps;
          if (slice.broken) {
            throw new Error("the loss is no longer a number");
          }
          done = slice.step;
          images += slice.images;
          seconds += slice.seconds;
          tell(done / steps);
          if (trainer.step !== step) {
            work.stop("Stopped, as training went on.");
          }
          await frame();
        }
        return done < steps ? null : { speed: images / seconds, scores: JSON.parse(await use((session) => session.evaluate(JUDGED))) as Scores };
      });
      if (found) {
        const { accuracy, interval: [low, high] } = found.scores;
        results.push({ ...found.scores, blocks });
        const words = `${percent(accuracy, 1)} (${percent(low, 1)} to ${percent(high, 1)})`;
        rest.replaceWith(make("td", {}, words, bar(found.scores)), make("td", {}, count(Math.round(found.speed))));
      } else {
        setText(rest, "stopped");
      }
    } catch (error) {
      rest.className = "error";
      setText(rest, messageOf(error));
    }
  }
  if (results[0]) {
    work.tell(`Each trained for ${many(steps, "step")}, judged on ${many(results[0].images, "validation image")}.`, 1);
  }
  // Meanwhile the visitor may have chosen another network.
  if (body.firstChild) {
    setText(answer, sum(results));
  }
}

export function startEnough(): void {
  const work = new Work(byId("enough-work", HTMLElement), "Train them all", compare);
  /** Of the network in training, which says about how fast others will be. */
  let [images, seconds] = [0, 0];
  let isOwn = false;
  let made: Made | null = null;
  const showTime = () => {
    const blocks = made?.description.blocks.length ?? 0;
    const time = (field.valueAsNumber * blocks * settings.batch * seconds) / images;
    setText(byId("enough-time", HTMLElement), time > 0 ? `About ${duration(time)} for ${many(blocks, "network")}.` : "");
  };
  field.addEventListener("input", () => {
    isOwn = true;
    showTime();
  });
  on("made", (next) => {
    // Of other images or another network the results say nothing.
    if (made && (made.data !== next.data || !sameButDropout(made.architecture, next.architecture))) {
      work.stop("");
      body.replaceChildren();
      setText(answer, "");
      [images, seconds] = [0, 0];
      showTime();
    }
    made = next;
  });
  on("steps", (steps) => {
    images += steps.images;
    seconds += steps.seconds;
    if (!isOwn) {
      field.value = String(Math.max(LEAST_STEPS, steps.step));
    }
    showTime();
  });
}
