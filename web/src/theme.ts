// Light and dark: as the device, or as the visitor chose. Canvases ask here for the colours of the style sheet.

import { byId, recall, remember } from "./dom";
import { tell } from "./state";

const choices = ["auto", "light", "dark"] as const;
type Choice = (typeof choices)[number];
const signs: Record<Choice, [string, string]> = {
  auto: ["\u25d0", "Colours: as the device"],
  light: ["\u2600", "Colours: light"],
  dark: ["\u263e", "Colours: dark"],
};

const known = new Map<string, string>();

/** The colour that a variable of the style sheet has now. */
export function colour(name: string): string {
  let found = known.get(name);
  if (!found) {
    // Only a used colour is resolved to one that a canvas understands.
    const probe = document.createElement("i");
    probe.style.color = `var(${name})`;
    document.body.append(probe);
    found = getComputedStyle(probe).color;
    probe.remove();
    known.set(name, found);
  }
  return found;
}

export function startTheme(): void {
  const button = byId("theme", HTMLButtonElement);
  const set = (choice: Choice) => {
    const root = document.documentElement;
    if (choice === "auto") {
      delete root.dataset.theme;
    } else {
      root.dataset.theme = choice;
    }
    const [sign, words] = signs[choice];
    button.textContent = sign;
    button.title = words;
    button.setAttribute("aria-label", words);
    known.clear();
    tell("theme", null);
  };
  let now: Choice = choices.find((choice) => choice === recall("theme")) ?? "auto";
  set(now);
  button.addEventListener("click", () => {
    now = choices[(choices.indexOf(now) + 1) % choices.length] ?? "auto";
    remember("theme", now);
    set(now);
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => set(now));
}
