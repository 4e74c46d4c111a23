// The buttons of training, its settings and its numbers.

import { byId, count, percent, setText, short } from "./dom";
import { on, say, settings } from "./state";
import { complain, trainer } from "./training";

function number(id: string): HTMLInputElement {
  return byId(id, HTMLInputElement);
}

/** Takes what a field says, if it is a number between its ends; otherwise the field says again what was. */
function onNumber(field: HTMLInputElement, now: () => number, take: (value: number) => void): void {
  field.addEventListener("change", () => {
    const value = field.valueAsNumber;
    if (field.checkValidity() && Number.isFinite(value)) {
      if (value !== now()) {
        take(value);
      }
    } else {
      field.value = String(now());
    }
  });
}

/** Makes the session again with the settings of now; where that fails, `undo` takes the change back. */
async function remake(goesOn: boolean, undo: () => void, done: string): Promise<void> {
  try {
    if (await trainer.remake(goesOn)) {
      say(done);
    }
  } catch (error) {
    undo();
    complain(error);
  }
}

function startSettings(): void {
  const [slider, rate] = [number("lr"), number("lr-number")];
  const showRate = () => {
    slider.value = String(Math.log10(settings.lr));
    slider.setAttribute("aria-valuetext", short(settings.lr));
    rate.value = String(settings.lr);
  };
  slider.addEventListener("input", () => {
    settings.lr = Number((10 ** slider.valueAsNumber).toPrecision(2));
    rate.value = String(settings.lr);
    slider.setAttribute("aria-valuetext", short(settings.lr));
  });
  onNumber(rate, () => settings.lr, (value) => {
    settings.lr = value;
    showRate();
  });
  showRate();

  const optimizer = byId("optimizer", HTMLSelectElement);
  const momentumField = byId("momentum-field", HTMLElement);
  optimizer.addEventListener("change", () => {
    settings.optimizer = optimizer.value === "sgd" ? "sgd" : "adam";
    momentumField.hidden = settings.optimizer !== "sgd";
    // The two take steps of different size at the same rate.
    settings.lr = settings.optimizer === "sgd" ? 0.03 : 0.003;
    showRate();
    void trainer.setOptimizer();
  });
  onNumber(number("momentum"), () => settings.momentum, (value) => {
    settings.momentum = value;
    void trainer.setOptimizer();
  });
  onNumber(number("weight-decay"), () => settings.weightDecay, (value) => {
    settings.weightDecay = value;
    void trainer.setOptimizer();
  });

  const batch = number("batch");
  onNumber(batch, () => settings.batch, (value) => {
    const before = settings.batch;
    settings.batch = value;
    const undo = () => {
      settings.batch = before;
      batch.value = String(before);
    };
    void remake(true, undo, `The batch size is ${value} now. The weights are kept; the optimiser starts anew.`);
  });
  const seed = number("seed");
  seed.value = String(settings.seed);
  onNumber(seed, () => settings.seed, (value) => {
    const before = settings.seed;
    settings.seed = value;
    const undo = () => {
      settings.seed = before;
      seed.value = String(before);
    };
    void remake(false, undo, "The weights start anew from another seed.");
  });
  const augment = number("augment");
  augment.checked = settings.augment;
  augment.addEventListener("change", () => {
    settings.augment = augment.checked;
    const undo = () => {
      settings.augment = augment.checked = !augment.checked;
    };
    void remake(false, undo, "The weights start anew.");
  });
}

function startButtons(): void {
  const start = byId("start", HTMLButtonElement);
  const oneStep = byId("one-step", HTMLButtonElement);
  const reset = byId("reset", HTMLButtonElement);
  const toggle = () => (trainer.training ? trainer.pause() : trainer.start());
  start.addEventListener("click", toggle);
  oneStep.addEventListener("click", () => void trainer.oneStep());
  reset.addEventListener("click", () => {
    trainer.pause();
    void remake(false, () => undefined, "The weights start anew.");
  });
  document.addEventListener("keydown", (event) => {
    const target = event.target;
    const isControl = target instanceof Element && target.closest("button, input, select, textarea, summary, a, [tabindex]");
    if (event.key === " " && !isControl && !event.repeat && !event.ctrlKey && !event.metaKey && !event.altKey) {
      event.preventDefault();
      if (!start.disabled) {
        toggle();
      }
    }
  });
  on("status", (status) => {
    const works = (status === "ready" || status === "training") && trainer.run !== null;
    start.disabled = oneStep.disabled = reset.disabled = !works;
    setText(byId("start-text", HTMLElement), status === "training" ? "Pause" : "Start");
    byId("compiling", HTMLElement).hidden = status !== "opening" && status !== "compiling";
  });
  on("compiling", ([done, all]) => {
    byId("compiling-bar", HTMLProgressElement).value = all > 0 ? done / all : 0;
    setText(byId("compiling-text", HTMLElement), `preparing the device: ${done} of ${all}`);
  });
  on("message", ({ text, bad }) => {
    const line = byId("message", HTMLElement);
    setText(line, text);
    line.classList.toggle("bad", bad);
  });
}

function startReadouts(): void {
  const read = (id: string) => byId(`read-${id}`, HTMLElement);
  const [step, epoch, speed, forward, backward, accuracy] = [
    read("step"),
    read("epoch"),
    read("speed"),
    read("forward"),
    read("backward"),
    read("accuracy"),
  ];
  /** Images and seconds of the last second or so. */
  let recent: { images: number; seconds: number }[] = [];
  const milliseconds = (value: number) => `${value < 10 ? value.toFixed(1) : Math.round(value)} ms`;
  on("made", ({ goesOn }) => {
    recent = [];
    if (!goesOn) {
      setText(step, "0");
      setText(epoch, "0");
      setText(accuracy, "\u2013");
    }
    [speed, forward, backward].forEach((place) => setText(place, "\u2013"));
  });
  on("steps", (steps) => {
    setText(step, count(steps.step));
    setText(epoch, (steps.epoch - 1 + steps.progress).toFixed(1));
    recent.push(steps);
    recent = recent.slice(-12);
    const images = recent.reduce((sum, entry) => sum + entry.images, 0);
    const seconds = recent.reduce((sum, entry) => sum + entry.seconds, 0);
    setText(speed, count(Math.round(images / seconds)));
    if (steps.forward_ms !== null && steps.backward_ms !== null) {
      setText(forward, milliseconds(steps.forward_ms));
      setText(backward, milliseconds(steps.backward_ms));
    }
  });
  on("scores", (scores) => setText(accuracy, percent(scores.accuracy, 1)));
}

export function startSettingsPanel(): void {
  startSettings();
  startButtons();
  startReadouts();
}
