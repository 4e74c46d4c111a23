// Starts the page: the engine, the device, the panels, the first network.

import init, { Engine } from "../pkg/convscope_web.js";
import "./changes";
import { startCurves } from "./curves";
import { startDraw } from "./draw";
import { drawnData, startDataPanel, useData } from "./data-panel";
import { byId, download, messageOf, setText } from "./dom";
import type { Adapter } from "./engine-types";
import { FILE, startFiles } from "./files";
import { startInside } from "./inside";
import { startLens } from "./lens";
import { startNetworkPanel } from "./network-panel";
import { startPredictions } from "./predictions";
import { startSettingsPanel } from "./settings-panel";
import { on, say, setStatus, settings } from "./state";
import { startTheme } from "./theme";
import { startTour } from "./tour";
import { complain, trainer } from "./training";
import { startWhy } from "./why";

const parameters = new URLSearchParams(location.search);

/** Opens the device, or says why there is none. */
async function openDevice(): Promise<boolean> {
  setStatus("opening");
  byId("no-webgpu", HTMLElement).hidden = true;
  try {
    if (!("gpu" in navigator)) {
      throw new Error("This browser has no WebGPU, or has it only on pages that are sent over https.");
    }
    const engine = await Engine.open();
    const { name, software } = JSON.parse(engine.adapter()) as Adapter;
    setText(byId("device", HTMLElement), software ? `${name || "no GPU"}: a program on the processor, which is slow` : name);
    trainer.use(engine);
    return true;
  } catch (error) {
    // What follows the first line is for the command line: drivers to install.
    const why = messageOf(error).split("\n")[0] ?? "";
    setText(byId("no-webgpu-why", HTMLElement), why.charAt(0).toUpperCase() + why.slice(1).replace(/[^.]$/, "$&."));
    byId("no-webgpu", HTMLElement).hidden = false;
    setStatus("no-webgpu");
    return false;
  }
}

async function begin(): Promise<void> {
  if (await openDevice()) {
    try {
      await useData(drawnData(parameters.get("data") === "digits" ? "digits" : "pets"));
    } catch (error) {
      complain(error);
    }
  }
}

/** After a lost device: another one, and the last known weights. */
async function goOn(): Promise<void> {
  const weights = trainer.lastWeights;
  if (!(await openDevice())) {
    return;
  }
  try {
    await trainer.remake(weights !== null, weights ?? undefined);
    byId("lost", HTMLElement).hidden = true;
    say(weights ? "The device is open again. Press Start to go on from the last known weights." : "The device is open again.");
  } catch (error) {
    complain(error);
  }
}

async function main(): Promise<void> {
  const seed = Number(parameters.get("seed"));
  if (Number.isInteger(seed) && seed >= 0 && seed < 2 ** 32) {
    settings.seed = seed;
  }
  startTheme();
  startSettingsPanel();
  on("status", (status) => {
    if (status === "lost") {
      say("");
      byId("lost", HTMLElement).hidden = false;
      byId("lost-save", HTMLButtonElement).disabled = !trainer.lastWeights;
      byId("reopen", HTMLButtonElement).focus();
    }
  });
  byId("reopen", HTMLButtonElement).addEventListener("click", () => void goOn());
  byId("retry", HTMLButtonElement).addEventListener("click", () => location.reload());
  byId("lost-save", HTMLButtonElement).addEventListener("click", () => {
    if (trainer.lastWeights) {
      download(FILE, trainer.lastWeights);
    }
  });
  if (!("gpu" in navigator)) {
    await openDevice();
    return;
  }
  await init({ module_or_path: "engine.wasm" });
  startNetworkPanel();
  startCurves();
  startLens();
  startInside();
  startDraw();
  startPredictions();
  startWhy();
  startTour();
  startDataPanel();
  startFiles();
  await begin();
}

main().catch((error: unknown) => {
  setText(byId("no-webgpu-why", HTMLElement), messageOf(error));
  byId("no-webgpu", HTMLElement).hidden = false;
  setStatus("no-webgpu");
});
