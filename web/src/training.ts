// The session and the training loop. All calls of the session stand in one queue: they share buffers on the device, and an object may
// not be freed while a call of it runs.

import { type Engine, Session } from "../pkg/convscope_web.js";
import { frame, messageOf } from "./dom";
import type { Description, Scores, Steps } from "./engine-types";
import { sameButDropout } from "./network";
import { type Data, optimizerSettings, say, setStatus, settings, tell } from "./state";

/** Milliseconds of training between two drawings of the page. */
export const BUDGET = 100;
/** Validation images that are judged while training. */
export const JUDGED = 200;
/** Milliseconds of training between two evaluations, and the least between two ends of short epochs. */
const EVALUATE_AFTER = 2000;
const EVALUATE_AT_MOST = 500;
/** Milliseconds between two copies of the weights of a network that is large. */
const COPY_AFTER = 10_000;
const LARGE = 1e6;

/** A session with what it was made of. */
export interface Run {
  session: Session;
  data: Data;
  architecture: string;
  description: Description;
  /** Steps and epochs of the sessions that it goes on from. */
  before: { step: number; epoch: number };
}

/** A part of the page that shows something of the session now and then. */
export interface Viewer {
  /** Milliseconds between two refreshments while training. */
  period: number;
  refresh(run: Run, training: boolean): Promise<void>;
}

export interface Request {
  data: Data;
  architecture: string;
  description: Description;
  weights?: Uint8Array;
  /** Whether steps and curves of the session before go on. */
  goesOn?: boolean;
}

/** The engine refuses work because the device is gone. */
class Stopped extends Error {}

export class Trainer {
  run: Run | null = null;
  /** What was asked for last. */
  request: Request | null = null;
  /** The last weights that were read, as a file: what is left when the device is lost. */
  lastWeights: Uint8Array | null = null;

  #engine: Engine | null = null;
  #tail: Promise<unknown> = Promise.resolve();
  #viewers: { viewer: Viewer; at: number }[] = [];
  #wanted = false;
  #looping = false;
  #latestRequest = 0;
  #lost = false;
  #place = { step: 0, epoch: 0 };
  #sinceEvaluation = 0;
  #copiedAt = 0;
  #round = 0;

  get training(): boolean {
    return this.#wanted;
  }

  get step(): number {
    return this.#place.step;
  }

  /** A device, at first or after one was lost. */
  use(engine: Engine): void {
    this.#engine = engine;
    this.#lost = false;
    // What belongs to the lost device may have a call that never ends, so it is left to the garbage collector.
    this.run = null;
    this.#tail = Promise.resolve();
  }

  watch(viewer: Viewer): void {
    this.#viewers.push({ viewer, at: 0 });
  }

  /** Makes a session. Of several requests that wait, only the last one is served. Resolves to whether this one was. */
  async make(request: Request): Promise<boolean> {
    const number = ++this.#latestRequest;
    const before = this.request;
    this.request = request;
    return this.#queue(async () => {
      if (number !== this.#latestRequest || !this.#engine) {
        return false;
      }
      setStatus("compiling");
      const options = this.options();
      const { data, architecture, description } = request;
      // Of other images or another network there is nothing to go on from.
      const isSame = !this.run || (this.run.data === data && sameButDropout(this.run.architecture, architecture));
      const goesOn = (request.goesOn ?? false) && isSame;
      try {
        // Weights that were trained with another batch are those of now, not those of when the visitor asked.
        const weights = goesOn && !request.weights && this.run ? await this.run.session.save() : request.weights;
        const told = (done: number, all: number) => tell("compiling", [done, all]);
        const session = await Session.create(this.#engine, architecture, options, data.train, data.val, weights, told);
        const old = this.run;
        const place = goesOn ? { ...this.#place } : { step: 0, epoch: 0 };
        this.#place = { ...place };
        this.run = { session, data, architecture, description, before: place };
        if (this.request === request) {
          this.request = this.run;
        }
        this.lastWeights = weights ?? null;
        old?.session.free();
        if (old && old.data !== data) {
          old.data.train.free();
          old.data.val.free();
        }
        this.#sinceEvaluation = Infinity;
        tell("made", { data, architecture, description, goesOn });
      } catch (error) {
        if (this.request === request) {
          this.request = this.run ?? before;
        }
        throw error;
      } finally {
        if (!this.#lost) {
          setStatus(this.#wanted ? "training" : "ready");
        }
      }
      this.#settle();
      return true;
    });
  }

  /** Makes the session again, with the settings of now: from new weights, from those of now if it goes on, or from a file's. */
  async remake(goesOn: boolean, weights?: Uint8Array): Promise<boolean> {
    if (!this.request) {
      return false;
    }
    const { data, architecture, description, weights: waiting } = this.request;
    // What was asked for and has not been made yet brings its own weights.
    const file = weights ?? (this.request === this.run ? undefined : waiting);
    return this.make({ data, architecture, description, goesOn, ...(file && { weights: file }) });
  }

  /** The settings of now, as the engine takes them for a new session. */
  options(): string {
    const { batch, seed, augment } = settings;
    return JSON.stringify({ batch, seed, augment, optimizer: optimizerSettings() });
  }

  /**
   * Works with another network on the same images, from new weights, beside the one in training, which stays as it is. `use` calls its
   * session in slices, between which other calls have their turn.
   */
  async apart<T>(architecture: string, options: string, job: (use: <R>(call: (session: Session) => Promise<R>) => Promise<R>) => Promise<T>): Promise<T> {
    const session = await this.#queue(async () => {
      if (!this.#engine || !this.run) {
        throw new Error("there is no network yet");
      }
      const { train, val } = this.run.data;
      return Session.create(this.#engine, architecture, options, train, val, undefined, () => undefined);
    });
    try {
      return await job((call) => this.#queue(() => call(session)));
    } finally {
      // On a lost device a call of it may never end.
      if (!this.#lost) {
        session.free();
      }
    }
  }

  start(): void {
    if (this.#wanted || !this.run || this.#lost) {
      return;
    }
    this.#wanted = true;
    say("");
    setStatus("training");
    void this.#loop();
  }

  pause(): void {
    if (!this.#wanted) {
      return;
    }
    this.#wanted = false;
    setStatus("ready");
    this.#settle();
  }

  async oneStep(): Promise<void> {
    this.pause();
    await this.#quietly(() => this.#train(1, true));
    this.#settle();
  }

  /** Shows what one viewer shows, soon. */
  async refresh(viewer: Viewer): Promise<void> {
    await this.#quietly(async () => {
      if (this.run) {
        await viewer.refresh(this.run, this.#wanted);
      }
    });
  }

  /** Asks the session for something. Null where there is none, or the device is lost. */
  async ask<T>(question: (run: Run) => Promise<T>): Promise<T | null> {
    try {
      return await this.#queue(async () => (this.run ? question(this.run) : null));
    } catch (error) {
      if (error instanceof Stopped) {
        return null;
      }
      throw error;
    }
  }

  async setOptimizer(): Promise<void> {
    await this.#quietly(async () => this.run?.session.set_optimizer(JSON.stringify(optimizerSettings())));
  }

  async save(): Promise<Uint8Array> {
    return this.#queue(async () => {
      if (!this.run) {
        throw new Error("there is no network yet");
      }
      this.lastWeights = await this.run.session.save();
      return this.lastWeights;
    });
  }

  /** Evaluates and shows everything: training stands still. */
  #settle(): void {
    void this.#quietly(async () => {
      if (this.#wanted || !this.run) {
        return;
      }
      for (const entry of this.#viewers) {
        await entry.viewer.refresh(this.run, false);
        entry.at = performance.now();
      }
      if (this.#sinceEvaluation > 0) {
        await this.#evaluate(this.run);
      }
    });
  }

  async #loop(): Promise<void> {
    // Pausing and starting again while a call runs must not make two loops.
    if (this.#looping) {
      return;
    }
    this.#looping = true;
    try {
      while (this.#wanted) {
        if (document.hidden) {
          await new Promise<void>((resolve) =>
            document.addEventListener("visibilitychange", () => resolve(), { once: true }),
          );
          continue;
        }
        await this.#queue(() => this.#oneRound());
        await frame();
      }
    } catch (error) {
      this.pause();
      complain(error);
    } finally {
      this.#looping = false;
    }
  }

  async #oneRound(): Promise<void> {
    const run = this.run;
    if (!run || !this.#wanted) {
      return;
    }
    const epoch = this.#place.epoch;
    // Timing a step makes the device wait, so most are not timed.
    const steps = await this.#train(1000, this.#round++ % 8 === 0);
    if (!steps) {
      return;
    }
    if (steps.broken) {
      this.pause();
      say("The loss is no longer a number: lower the learning rate and reset.", true);
      return;
    }
    const ended = steps.progress >= 1 || (epoch > 0 && this.#place.epoch > epoch);
    if (this.#sinceEvaluation >= EVALUATE_AFTER || (ended && this.#sinceEvaluation >= EVALUATE_AT_MOST)) {
      await this.#evaluate(run);
      await frame();
    }
    for (const entry of this.#viewers) {
      if (this.#wanted && performance.now() - entry.at >= entry.viewer.period) {
        await entry.viewer.refresh(run, true);
        entry.at = performance.now();
        await frame();
      }
    }
  }

  async #train(steps: number, timed: boolean): Promise<Steps | null> {
    const run = this.run;
    if (!run) {
      return null;
    }
    const done = JSON.parse(await run.session.train(settings.lr, steps, BUDGET, timed)) as Steps;
    done.step += run.before.step;
    done.epoch += run.before.epoch;
    this.#place = { step: done.step, epoch: done.epoch };
    this.#sinceEvaluation += done.seconds * 1000;
    tell("steps", done);
    return done;
  }

  async #evaluate(run: Run): Promise<void> {
    this.#sinceEvaluation = 0;
    const scores = JSON.parse(await run.session.evaluate(JUDGED)) as Scores;
    tell("scores", { ...scores, step: this.#place.step });
    const large = run.description.parameters > LARGE;
    if (Number.isFinite(scores.loss) && (!large || performance.now() - this.#copiedAt > COPY_AFTER)) {
      this.lastWeights = await run.session.save();
      this.#copiedAt = performance.now();
    }
  }

  /** Runs a job when those before it are done. */
  #queue<T>(job: () => Promise<T>): Promise<T> {
    const turn = this.#tail.then(async () => {
      if (this.#lost) {
        throw new Stopped("the GPU stopped");
      }
      try {
        return await job();
      } catch (error) {
        if (messageOf(error).includes("the GPU stopped")) {
          this.#lost = true;
          this.#wanted = false;
          setStatus("lost");
          throw new Stopped(messageOf(error));
        }
        throw error;
      }
    });
    this.#tail = turn.catch(() => undefined);
    return turn;
  }

  async #quietly(job: () => Promise<unknown>): Promise<void> {
    try {
      await this.#queue(job);
    } catch (error) {
      complain(error);
    }
  }
}

export const trainer = new Trainer();

/** Says what went wrong. Of a device that stopped, the page says so itself. */
export function complain(error: unknown): void {
  if (!(error instanceof Stopped)) {
    say(messageOf(error), true);
  }
}
