// Files of weights: saved, opened, dropped anywhere on the page.

import { describe_weights } from "../pkg/convscope_web.js";
import { askForImages, drawnData, useData } from "./data-panel";
import { byId, download, messageOf } from "./dom";
import type { WeightsMeta } from "./engine-types";
import { say } from "./state";
import { complain, trainer } from "./training";

export const FILE = "convscope.safetensors";

const petNames = JSON.stringify(["cat", "dog"]);
const digitNames = JSON.stringify(Array.from({ length: 10 }, (_, digit) => String(digit)));

async function open(file: File): Promise<void> {
  try {
    const bytes = new Uint8Array(await file.arrayBuffer());
    const { spec: network, classes, preparation } = JSON.parse(describe_weights(bytes)) as WeightsMeta;
    const [channels, height, width] = network.input;
    if (channels !== 3 || height !== width) {
      throw new Error(`its network is for images of ${network.input.join(" x ")}, this page has square images in colour`);
    }
    const resizeCrop = preparation?.resize_crop;
    const weights = { file: bytes, network, resizeCrop };
    const names = JSON.stringify(classes);
    const now = trainer.request?.data;
    const kind = names === petNames ? "pets" : names === digitNames ? "digits" : null;
    trainer.pause();
    if (now && now.size === height && JSON.stringify(now.classes) === names && now.train.resize_crop === resizeCrop) {
      await useData(now, weights);
    } else if (kind && resizeCrop === undefined) {
      await useData(drawnData(kind, height), weights);
    } else {
      askForImages(classes, height, weights);
      return;
    }
    say(`${file.name} is open. Press Start to go on from its weights.`);
  } catch (error) {
    say(`${file.name}: ${messageOf(error)}`, true);
  }
}

export function startFiles(): void {
  const input = byId("open", HTMLInputElement);
  input.addEventListener("change", () => {
    const file = input.files?.[0];
    input.value = "";
    if (file) {
      void open(file);
    }
  });
  byId("save", HTMLButtonElement).addEventListener("click", () => {
    trainer
      .save()
      .then((bytes) => {
        download(FILE, bytes);
        const size = trainer.run?.data.size ?? 0;
        say(`Saved. "convscope train --model ${FILE} --init ${FILE} --size ${size}" goes on from these weights.`);
      })
      .catch((error: unknown) => complain(error));
  });

  const veil = byId("drop-veil", HTMLElement);
  const hasFiles = (event: DragEvent) => event.dataTransfer?.types.includes("Files") ?? false;
  const isOverClass = (event: DragEvent) => event.target instanceof Element && event.target.closest(".own-class") !== null;
  document.addEventListener("dragover", (event) => {
    if (hasFiles(event)) {
      event.preventDefault();
      veil.hidden = isOverClass(event) || !byId("own", HTMLElement).hidden;
    }
  });
  document.addEventListener("dragleave", (event) => {
    if (event.relatedTarget === null) {
      veil.hidden = true;
    }
  });
  document.addEventListener("drop", (event) => {
    veil.hidden = true;
    if (!hasFiles(event)) {
      return;
    }
    // Otherwise the browser would leave the page for the file.
    event.preventDefault();
    const files = [...(event.dataTransfer?.files ?? [])];
    const weights = files.find(({ name }) => name.endsWith(".safetensors"));
    if (weights) {
      void open(weights);
    } else {
      say("Drop images on a class under \u201cYour own\u201d, or a .safetensors file anywhere.", true);
    }
  });
}
