// Small helpers for elements and for numbers as text.

/** The element of the page with this id, which index.html is sure to have. */
export function byId<T extends HTMLElement>(id: string, kind: { new (): T; prototype: T }): T {
  const found = document.getElementById(id);
  if (!(found instanceof kind)) {
    throw new Error(`the page has no ${kind.name} #${id}`);
  }
  return found;
}

type Child = Node | string;

/** A new element. `attributes` are those of HTML; `false` leaves one out, `true` sets it without a value. */
export function make<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Record<string, string | number | boolean> = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== false) {
      made.setAttribute(name, value === true ? "" : String(value));
    }
  }
  made.append(...children);
  return made;
}

/** Sets the text only where it differs, so that nothing is laid out or read aloud in vain. */
export function setText(target: Element, text: string): void {
  if (target.textContent !== text) {
    target.textContent = text;
  }
}

/** A whole number with commas. */
export function count(value: number): string {
  return value.toLocaleString("en");
}

/** `1 image`, `2 images`. */
export function many(value: number, one: string, more = `${one}s`): string {
  return `${count(value)} ${value === 1 ? one : more}`;
}

/** A number with three significant digits and a true minus sign. */
export function short(value: number): string {
  if (!Number.isFinite(value)) {
    return "no number";
  }
  const size = Math.abs(value);
  let text: string;
  if (size === 0) {
    text = "0";
  } else if (size >= 1e5 || size < 1e-3) {
    text = value.toExponential(1).replace("e+", "e");
  } else {
    text = Number(value.toPrecision(3)).toString();
  }
  return text.replaceAll("-", "\u2212");
}

/** A share as a percentage. */
export function percent(share: number, digits = 0): string {
  return Number.isFinite(share) ? `${(100 * share).toFixed(digits)}%` : "\u2013";
}

/** Rows or columns of an image, counted from 0 and cut at its edges: "8–22". */
export function span(from: number, size: number, all: number): string {
  return `${Math.max(0, from)}\u2013${Math.min(all, from + size) - 1}`;
}

export function shapeText(shape: readonly number[]): string {
  return shape[1] === 1 && shape[2] === 1 ? `${shape[0]}` : shape.join(" \u00d7 ");
}

/** What an error says. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** Resolves when the page is about to be drawn. */
export function frame(): Promise<void> {
  return new Promise((resolve) => requestAnimationFrame(() => resolve()));
}

/** Tells of the Escape key, unless it belongs to something that is open. */
export function onEscape(listener: () => void): void {
  document.addEventListener("keydown", ({ key, target }) => {
    if (key === "Escape" && !(target instanceof HTMLSelectElement)) {
      listener();
    }
  });
}

/** Shows a card, and goes there where it is out of sight. */
export function reveal(card: HTMLElement): void {
  card.hidden = false;
  const { top } = card.getBoundingClientRect();
  if (top < 0 || top > innerHeight * 0.8) {
    card.scrollIntoView();
  }
}

/** Remembered choices. Storage may be refused, which must not stop the page. */
export function recall(key: string): string | null {
  try {
    return localStorage.getItem(`convscope.${key}`);
  } catch {
    return null;
  }
}

export function remember(key: string, value: string): void {
  try {
    localStorage.setItem(`convscope.${key}`, value);
  } catch {
    // Then it is not remembered.
  }
}

/** Gives the visitor bytes as a file. */
export function download(name: string, bytes: Uint8Array): void {
  const url = URL.createObjectURL(new Blob([bytes.slice()], { type: "application/octet-stream" }));
  make("a", { href: url, download: name }).click();
  // The browser needs the address until the download has begun.
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}
