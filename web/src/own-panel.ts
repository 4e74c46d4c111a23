// The visitor's own images: a drop zone a class.

import { OwnImages } from "../pkg/convscope_web.js";
import { byId, make, many, setText } from "./dom";
import type { Architecture } from "./engine-types";
import { drawImage } from "./maps";
import { type Data, say } from "./state";
import { complain } from "./training";

/** Images that a class needs: with five, one is for validation. */
const LEAST = 5;
/** Larger images are made smaller when they are decoded, so that a large photo takes no more than 16 MiB. */
const MOST_PIXELS = 2048;
/** Thumbnails of a class. */
const THUMBNAILS = 18;

interface OwnImage {
  file: File;
  /** The middle square as the network gets it: red, green, blue row by row. */
  rgb: Uint8Array;
}

interface OwnClass {
  /** A number that stays when classes before it are removed. */
  id: number;
  name: string;
  images: OwnImage[];
  /** Images that are in the set already, and files that are no images. */
  equal: number;
  broken: number;
}

export interface Weights {
  file: Uint8Array;
  network: Architecture;
  /** As in `Preparation`. */
  resizeCrop: number | undefined;
}

/** In words, how images are scaled and cut, where it is not the whole middle square that is scaled. */
export const cutOut = (size: number, resizeCrop: number | undefined): string =>
  resizeCrop === undefined ? "" : ` Of each the shorter side is scaled to ${resizeCrop} pixels, and the middle ${size} \u00d7 ${size} are cut out.`;

/** All files below what was dropped. */
async function filesOf(transfer: DataTransfer): Promise<File[]> {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry()).filter((entry) => entry !== null);
  const found: File[] = [];
  const walk = async (entry: FileSystemEntry): Promise<void> => {
    if (entry instanceof FileSystemFileEntry) {
      found.push(await new Promise<File>((resolve, reject) => entry.file(resolve, reject)));
    } else if (entry instanceof FileSystemDirectoryEntry) {
      const reader = entry.createReader();
      // A reader hands out a part of a folder at a time.
      for (;;) {
        const some = await new Promise<FileSystemEntry[]>((resolve, reject) => reader.readEntries(resolve, reject));
        if (some.length === 0) {
          break;
        }
        for (const inner of some) {
          await walk(inner);
        }
      }
    }
  };
  if (entries.length === 0) {
    return [...transfer.files];
  }
  for (const entry of entries) {
    await walk(entry);
  }
  return found;
}

/** Hidden files of folders are not meant as images. */
const isHidden = ({ name }: File) => name.startsWith(".") || name === "Thumbs.db" || name === "desktop.ini";

/** An image file as a canvas gives it: red, green, blue, alpha. */
async function decode(file: File): Promise<ImageData> {
  const bitmap = await createImageBitmap(file);
  const shrink = Math.min(1, MOST_PIXELS / Math.max(bitmap.width, bitmap.height));
  const [width, height] = [Math.max(1, Math.round(bitmap.width * shrink)), Math.max(1, Math.round(bitmap.height * shrink))];
  const canvas = make("canvas", { width, height });
  const drawing = canvas.getContext("2d", { willReadFrequently: true });
  if (!drawing) {
    throw new Error("the browser refuses to draw");
  }
  drawing.imageSmoothingQuality = "high";
  drawing.drawImage(bitmap, 0, 0, width, height);
  bitmap.close();
  return drawing.getImageData(0, 0, width, height);
}

export class OwnPanel {
  #root = byId("own", HTMLElement);
  #list = byId("own-classes", HTMLElement);
  #size = byId("own-size", HTMLSelectElement);
  #hint = byId("own-hint", HTMLElement);
  #button = byId("use-own", HTMLButtonElement);
  #classes: OwnClass[] = [];
  #nextId = 1;
  /** Holds every image under one label, which tells equal ones. */
  #all: OwnImages;
  /** How its images are scaled. */
  #resizeCrop: number | undefined;
  #busy = 0;
  #weights: Weights | null = null;
  /** Only one lot of files is decoded at a time. */
  #tail: Promise<void> = Promise.resolve();

  constructor(readonly use: (data: Data, weights?: Weights) => Promise<boolean>) {
    this.#all = new OwnImages(this.#side, [""]);
    this.#add("class A");
    this.#add("class B");
    byId("add-class", HTMLButtonElement).addEventListener("click", () => {
      const added = this.#add(`class ${String.fromCharCode(65 + (this.#classes.length % 26))}`);
      this.#draw();
      byId(`class-name-${added.id}`, HTMLInputElement).select();
    });
    this.#size.addEventListener("change", () => this.#takeAgain());
    this.#button.addEventListener("click", () => void this.#finish());
    this.#draw();
  }

  get #side(): number {
    return Number(this.#size.value);
  }

  /** The opened weights, where the images are of the size that they are for. */
  get #waiting(): Weights | null {
    return this.#weights?.network.input[1] === this.#side ? this.#weights : null;
  }

  show(): void {
    this.#root.hidden = false;
  }

  hide(): void {
    this.#root.hidden = true;
  }

  ask(classes: string[], size: number, weights: Weights): void {
    // Weights that ask for what cannot be are refused before anything changes.
    new OwnImages(size, classes, weights.resizeCrop).free();
    this.#weights = weights;
    if (![...this.#size.options].some(({ value }) => value === String(size))) {
      this.#size.append(make("option", { value: size }, `${size} px`));
    }
    this.#size.value = String(size);
    const before = this.#classes;
    this.#classes = [];
    for (const name of classes) {
      // Images that are there already stay, if they have the class's name.
      const kept = before.find((own) => own.name === name);
      if (kept) {
        this.#classes.push(kept);
      } else {
        this.#add(name);
      }
    }
    this.#takeAgain();
    this.show();
    say(`This network tells apart ${classes.join(", ")}. Add images of these classes, then use them.`);
  }

  #add(name: string): OwnClass {
    const made: OwnClass = { id: this.#nextId++, name, images: [], equal: 0, broken: 0 };
    this.#classes.push(made);
    return made;
  }

  /** Takes all files again, prepared otherwise or without those of a class that is gone. */
  #takeAgain(): void {
    const files = this.#classes.map((own) => own.images.map(({ file }) => file));
    const resizeCrop = this.#waiting?.resizeCrop;
    const all = new OwnImages(this.#side, [""], resizeCrop);
    this.#resizeCrop = resizeCrop;
    this.#tail = this.#tail.then(() => {
      this.#all.free();
      this.#all = all;
    });
    this.#classes.forEach((own, at) => {
      own.images = [];
      this.#take(own, files[at] ?? []);
    });
    this.#draw();
  }

  #take(own: OwnClass, files: File[]): void {
    this.#busy += files.length;
    this.#tail = this.#tail.then(async () => {
      for (const file of files) {
        await this.#takeOne(own, file);
        this.#busy--;
        if (this.#busy % 10 === 0) {
          this.#draw();
        }
      }
      this.#draw();
    });
    this.#draw();
  }

  async #takeOne(own: OwnClass, file: File): Promise<void> {
    if (isHidden(file)) {
      return;
    }
    let image: ImageData;
    try {
      image = await decode(file);
    } catch {
      own.broken++;
      return;
    }
    const rgb = this.#all.square(new Uint8Array(image.data.buffer), image.width, image.height);
    if (this.#all.add(rgb, 0)) {
      own.images.push({ file, rgb });
    } else {
      own.equal++;
    }
  }

  async #finish(): Promise<void> {
    // What earlier weights have asked for is not asked for any more.
    if (this.#resizeCrop !== this.#waiting?.resizeCrop) {
      this.#takeAgain();
      await this.#tail;
      if (this.#button.disabled) {
        return;
      }
    }
    const weights = this.#waiting;
    const size = this.#side;
    const classes = this.#classes.map(({ name }) => name.trim());
    const images = new OwnImages(size, classes, this.#resizeCrop);
    this.#classes.forEach((own, label) => {
      own.images.forEach(({ rgb }) => images.add(rgb, label));
    });
    const data: Data = { kind: "own", size, classes, train: images.set(false), val: images.set(true) };
    images.free();
    this.#button.disabled = true;
    try {
      if (this.#weights && !weights) {
        say(`The opened weights are for images of another size, so the network starts anew.`);
      }
      if (await this.use(data, weights ?? undefined)) {
        this.#weights = null;
      }
    } catch (error) {
      complain(error);
    }
    this.#draw();
  }

  #draw(): void {
    const focused = document.activeElement?.id;
    const isTyping = this.#list.contains(document.activeElement) && document.activeElement instanceof HTMLInputElement && document.activeElement.type === "text";
    // Who is typing a name must not lose the field.
    if (!isTyping || this.#list.childElementCount !== this.#classes.length) {
      this.#list.replaceChildren(...this.#classes.map((own) => this.#zone(own)));
      if (focused) {
        document.getElementById(focused)?.focus();
      }
    }
    this.#sayWhether();
  }

  #sayWhether(): void {
    const names = this.#classes.map(({ name }) => name.trim());
    const short = this.#classes.filter(({ images }) => images.length < LEAST);
    const isReady = this.#busy === 0 && short.length === 0 && names.every(Boolean) && new Set(names).size === names.length;
    this.#button.disabled = !isReady;
    const words =
      this.#busy > 0
        ? `Reading files, ${this.#busy} to go.`
        : names.some((name) => !name)
          ? "Each class needs a name."
          : new Set(names).size < names.length
            ? "Two classes have the same name."
            : short.length > 0
              ? `Each class needs ${LEAST} images or more. One in five is for validation.`
              : "One image in five of each class is for validation, the others are for training.";
    setText(this.#hint, words + cutOut(this.#side, this.#waiting?.resizeCrop));
  }

  #zone(own: OwnClass): HTMLElement {
    const name = make("input", { type: "text", id: `class-name-${own.id}`, value: own.name, maxlength: 60, "aria-label": "Name of the class" });
    name.addEventListener("input", () => {
      own.name = name.value;
      this.#sayWhether();
    });
    const picker = (id: string, text: string, folder: boolean) => {
      const input = make("input", { type: "file", id: `${id}-${own.id}`, class: "visually-hidden", multiple: true, webkitdirectory: folder, accept: folder ? false : "image/*" });
      input.addEventListener("change", () => {
        this.#take(own, [...(input.files ?? [])]);
        input.value = "";
      });
      return [input, make("label", { class: "button small", for: `${id}-${own.id}` }, text)];
    };
    const remove = make("button", { type: "button", class: "quiet small", id: `remove-class-${own.id}` }, "Remove");
    remove.disabled = this.#classes.length <= 2 || this.#busy > 0;
    remove.addEventListener("click", () => {
      this.#classes = this.#classes.filter((other) => other !== own);
      this.#list.replaceChildren();
      this.#takeAgain();
    });
    const thumbnails = own.images.slice(0, THUMBNAILS).map(({ rgb }) => {
      const canvas = make("canvas");
      drawImage(canvas, rgb, Math.round(Math.sqrt(rgb.length / 3)));
      return canvas;
    });
    const parts = [
      many(own.images.length, "image"),
      own.equal > 0 ? `${many(own.equal, "equal image")} left out` : "",
      own.broken > 0 ? `${many(own.broken, "file is no image", "files are no images")}` : "",
    ];
    const zone = make(
      "div",
      { class: "own-class" },
      make("div", { class: "row" }, name, remove),
      make("div", { class: "row" }, ...picker("files", "Choose images", false), ...picker("folder", "Choose a folder", true)),
      make("p", { class: "hint", id: `class-count-${own.id}` }, `${parts.filter(Boolean).join(", ")}.`),
    );
    if (thumbnails.length > 0) {
      zone.append(make("div", { class: "own-thumbs", "aria-hidden": "true" }, ...thumbnails));
    }
    zone.addEventListener("dragover", (event) => {
      event.preventDefault();
      zone.classList.add("over");
    });
    zone.addEventListener("dragleave", () => zone.classList.remove("over"));
    zone.addEventListener("drop", (event) => {
      zone.classList.remove("over");
      const transfer = event.dataTransfer;
      // A file of weights is for the page.
      if (!transfer || [...transfer.files].some(({ name: of }) => of.endsWith(".safetensors"))) {
        return;
      }
      event.preventDefault();
      event.stopPropagation();
      filesOf(transfer)
        .then((files) => this.#take(own, files))
        .catch((error: unknown) => complain(error));
    });
    return zone;
  }
}
