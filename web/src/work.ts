// Work that takes a while: a button that starts and stops it, and how far it is. Training stands still meanwhile, and goes on after.

import { make, setText } from "./dom";
import { on } from "./state";
import { complain, trainer } from "./training";

/** What runs; one at a time. */
let running: Work | null = null;
const all: Work[] = [];

export class Work {
  readonly #button = make("button", { type: "button", class: "primary" });
  readonly #bar = make("progress", { max: 1, value: 0 });
  readonly #line = make("span", { class: "hint", role: "status" });
  /** Whether training goes on afterwards. */
  #resumes = false;
  #stopped = false;

  /** `job` looks now and then whether it `isOn`. */
  constructor(place: HTMLElement, readonly name: string, readonly job: (work: Work) => Promise<void>) {
    this.#bar.setAttribute("aria-label", name);
    place.append(this.#button, this.#bar, this.#line);
    all.push(this);
    this.#button.addEventListener("click", () => (this.isOn ? this.stop("Stopped.") : void this.#run()));
    on("made", ({ goesOn }) => (this.#resumes &&= goesOn));
    on("status", (status) => {
      if (status === "lost") {
        // A call of the lost device may never end.
        this.stop("The device stopped.");
        this.#end();
      }
      this.#show();
    });
    this.#show();
  }

  get isOn(): boolean {
    return running === this && !this.#stopped;
  }

  stop(why: string): void {
    if (this.isOn) {
      this.#stopped = true;
      setText(this.#line, why);
      this.#show();
    }
  }

  tell(words: string, share: number): void {
    if (this.isOn) {
      setText(this.#line, words);
      this.#bar.value = share;
    }
  }

  async #run(): Promise<void> {
    running = this;
    this.#stopped = false;
    this.tell("", 0);
    this.#resumes = trainer.training;
    trainer.pause();
    all.forEach((work) => work.#show());
    try {
      await this.job(this);
    } catch (error) {
      this.#resumes = false;
      this.tell("", 0);
      complain(error);
    }
    this.#end();
  }

  #end(): void {
    if (running === this) {
      running = null;
      all.forEach((work) => work.#show());
      if (this.#resumes) {
        trainer.start();
      }
    }
  }

  #show(): void {
    const state = document.documentElement.dataset.state;
    setText(this.#button, this.isOn ? "Stop" : this.name);
    this.#button.disabled = running ? !this.isOn : (state !== "ready" && state !== "training") || !trainer.run;
    this.#bar.hidden = !this.isOn;
  }
}
