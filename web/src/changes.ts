// What the visitor has changed in the network that is looked into: channels that are off, blocks that are back at their start. Training
// goes on with its own weights.

import { byId, make } from "./dom";
import type { Changes, Description } from "./engine-types";
import { lens } from "./lens";
import { type MapPlace, on, tell } from "./state";
import { complain, trainer } from "./training";

const none: Changes = { off: [], initial: [] };

class Experiment {
  #now = none;
  #note = byId("changes", HTMLElement);

  constructor() {
    on("made", ({ goesOn }) => {
      // A new session knows of none. One that goes on has the same layers, so they still fit.
      if (goesOn) {
        trainer.run?.session.set_changes(JSON.stringify(this.#now));
      } else {
        this.#take(none);
      }
    });
  }

  get now(): Changes {
    return this.#now;
  }

  isOff({ value, channel }: MapPlace): boolean {
    return this.#now.off.some(([other, off]) => other === value && off === channel);
  }

  /** Switches a channel off, or on again. */
  async toggle(place: MapPlace): Promise<void> {
    const { off, initial } = this.#now;
    const others = off.filter(([value, channel]) => value !== place.value || channel !== place.channel);
    const added: Changes["off"] = others.length === off.length ? [[place.value, place.channel]] : [];
    await this.set({ off: [...others, ...added], initial });
  }

  /** Resolves when the engine knows. */
  async set(next: Changes): Promise<void> {
    try {
      const known = await trainer.ask(async ({ session }) => {
        session.set_changes(JSON.stringify(next));
        return true;
      });
      if (known) {
        this.#take(next);
        lens.again();
      }
    } catch (error) {
      complain(error);
    }
  }

  #take(next: Changes): void {
    this.#now = next;
    const description = trainer.run?.description;
    const parts = description ? wordsOf(next, description) : [];
    this.#note.hidden = parts.length === 0;
    const back = make("button", { type: "button", class: "small", id: "put-back" }, "Put everything back");
    back.addEventListener("click", () => void this.set(none));
    const words = `${parts.join("; ")}. You look into the changed network; training goes on with its own weights.`;
    this.#note.replaceChildren(make("span", {}, words), back);
    tell("changes", next);
  }
}

function wordsOf({ off, initial }: Changes, { nodes }: Description): string[] {
  const back = initial.map((block) => `Block ${block + 1} is back at its start`);
  const silent = off.map(([value, channel]) => {
    const node = nodes[value - 1];
    const place = node?.block === null || node?.block === undefined ? (node?.name ?? "") : `block ${node.block + 1}`;
    return `Channel ${channel} of ${place} is off`;
  });
  return [...back, ...silent];
}

export const changes = new Experiment();
