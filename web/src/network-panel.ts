// The list of layers that the visitor edits. What is applied goes on running until the list is.

import { byId, count, make, many, messageOf, setText, shapeText } from "./dom";
import type { Architecture, Description, LayerSpec, LayerType } from "./engine-types";
import { layerTypes } from "./engine-types";
import { described, fitted, isList, placeOf, presets, sameButDropout, smallLayers } from "./network";
import { on, say } from "./state";
import { complain, trainer } from "./training";

interface NumberOption {
  name: "out_channels" | "kernel_size" | "stride" | "padding" | "groups" | "p" | "output_size" | "out_features";
  label: string;
  /** PyTorch's default where nothing is said; null where it is the kernel size. */
  usual: number | null;
  min: number;
  step: number;
}

const kernel: NumberOption = { name: "kernel_size", label: "kernel size", usual: 3, min: 1, step: 1 };
const padding: NumberOption = { name: "padding", label: "padding", usual: 0, min: 0, step: 1 };
const poolStride: NumberOption = { name: "stride", label: "stride", usual: null, min: 1, step: 1 };
const share: NumberOption = { name: "p", label: "probability", usual: 0.5, min: 0, step: 0.05 };

const options: Record<LayerType, NumberOption[]> = {
  Conv2d: [
    { name: "out_channels", label: "channels", usual: 8, min: 1, step: 1 },
    kernel,
    { name: "stride", label: "stride", usual: 1, min: 1, step: 1 },
    padding,
    { name: "groups", label: "groups", usual: 1, min: 1, step: 1 },
  ],
  BatchNorm2d: [],
  ReLU: [],
  MaxPool2d: [kernel, poolStride, padding],
  AvgPool2d: [kernel, poolStride, padding],
  AdaptiveAvgPool2d: [{ name: "output_size", label: "output size", usual: 1, min: 1, step: 1 }],
  Dropout: [share],
  Dropout2d: [share],
  Flatten: [],
  Linear: [{ name: "out_features", label: "outputs", usual: 32, min: 1, step: 1 }],
};

/** A layer of this type as the page adds it. */
function fresh(type: LayerType): LayerSpec {
  switch (type) {
    case "Conv2d":
      return { type, out_channels: 8, kernel_size: 3, padding: 1 };
    case "MaxPool2d":
    case "AvgPool2d":
      return { type, kernel_size: 2 };
    case "AdaptiveAvgPool2d":
      return { type, output_size: 1 };
    case "Dropout":
    case "Dropout2d":
      return { type, p: 0.2 };
    case "Linear":
      return { type, out_features: 32 };
    default:
      return { type };
  }
}

/** What a layer's options are, in a few words. */
function wordsOf(layer: LayerSpec): string {
  const { kernel_size, stride, padding: around, groups } = layer;
  const parts: string[] = [];
  if (layer.out_channels !== undefined) parts.push(String(layer.out_channels));
  if (layer.out_features !== undefined) parts.push(String(layer.out_features));
  if (kernel_size !== undefined) parts.push(`${kernel_size} \u00d7 ${kernel_size}`);
  if (stride !== undefined && stride !== 1) parts.push(`stride ${stride}`);
  if (around) parts.push(`padding ${around}`);
  if (groups !== undefined && groups !== 1) parts.push(`${groups} groups`);
  if (layer.p !== undefined) parts.push(String(layer.p));
  if (layer.output_size !== undefined) parts.push(`to ${layer.output_size}`);
  return parts.join(", ");
}

class NetworkPanel {
  #rows = byId("rows", HTMLOListElement);
  #error = byId("network-error", HTMLElement);
  #sum = byId("network-sum", HTMLElement);
  #apply = byId("apply", HTMLButtonElement);
  #applyHint = byId("apply-hint", HTMLElement);
  #undo = byId("undo", HTMLButtonElement);
  #preset = byId("preset", HTMLSelectElement);

  #draft: Architecture = { input: [3, 64, 64], layers: structuredClone(smallLayers) };
  #description: Description | null = null;
  #applied = "";
  #past: Architecture[] = [];
  /** The place of the row that is open. */
  #open: number | null = null;

  constructor() {
    this.#preset.append(make("option", { value: "" }, "changed by hand"));
    this.#preset.append(...presets.map(({ id, name }) => make("option", { value: id }, name)));
    this.#preset.addEventListener("change", () => {
      const preset = presets.find(({ id }) => id === this.#preset.value);
      if (preset) {
        this.#open = null;
        this.#change({ input: this.#draft.input, layers: structuredClone(preset.layers) });
      }
    });
    this.#undo.addEventListener("click", () => {
      const past = this.#past.pop();
      if (past) {
        this.#draft = past;
        this.#open = null;
        this.#show();
        this.#useDropout();
      }
    });
    this.#apply.addEventListener("click", () => void this.#use("The new network starts from new weights."));
    on("made", ({ architecture, goesOn }) => {
      const isOther = architecture !== this.#applied;
      this.#applied = architecture;
      // Edits that are not applied outlive a reset.
      if (!goesOn && isOther) {
        this.#draft = JSON.parse(architecture) as Architecture;
      }
      this.#show();
    });
    on("status", () => this.#state());
  }

  /** Takes an edit, which can be undone. */
  #change(next: Architecture, focus?: string): void {
    this.#past.push(this.#draft);
    this.#draft = next;
    this.#show(focus);
    this.#useDropout();
  }

  #edit(edit: (layers: LayerSpec[]) => void, focus?: string): void {
    if (isList(this.#draft)) {
      const layers = structuredClone(this.#draft.layers);
      edit(layers);
      this.#change({ ...this.#draft, layers }, focus);
    }
  }

  /** What dropout sets to 0 changes at once where nothing else does: the weights stay as they are. */
  #useDropout(): void {
    const now = JSON.stringify(this.#draft);
    if (this.#description && this.#applied && now !== this.#applied && sameButDropout(now, this.#applied)) {
      const before = (JSON.parse(this.#applied) as Architecture).layers;
      const changed = this.#draft.layers?.find(({ p }, place) => p !== before?.[place]?.p);
      void this.#use(`Dropout is ${changed?.p ?? share.usual} now. The weights are kept; the optimiser starts anew.`, true);
    }
  }

  async #use(done: string, goesOn = false): Promise<void> {
    const data = trainer.request?.data;
    if (!data || !this.#description) {
      return;
    }
    const [architecture, description] = [JSON.stringify(this.#draft), this.#description];
    try {
      if (await trainer.make({ data, architecture, description, goesOn })) {
        say(done);
      }
    } catch (error) {
      complain(error);
    }
  }

  #fit(): void {
    const data = trainer.request?.data;
    if (data) {
      this.#draft = fitted(this.#draft, data.size, data.classes.length);
    }
  }

  /** Draws the list; the element with the id `focus` is focused then, or else the one that was. */
  #show(focus: string | undefined = document.activeElement?.id): void {
    this.#fit();
    let wrong: { place: number | null; words: string } | null = null;
    try {
      this.#description = described(this.#draft);
    } catch (error) {
      this.#description = null;
      const words = messageOf(error);
      wrong = { place: isList(this.#draft) ? placeOf(words, this.#draft.layers) : null, words };
    }
    const items = isList(this.#draft) ? this.#listRows(this.#draft.layers, wrong) : this.#fixedRows();
    const scrolled = this.#rows.scrollTop;
    this.#rows.replaceChildren(...items);
    this.#rows.scrollTop = scrolled;
    const bad = this.#rows.querySelector<HTMLElement>(".wrong");
    if (bad) {
      // What is wrong must be in sight, without moving the page.
      const top = bad.offsetTop - this.#rows.offsetTop;
      const { scrollTop, clientHeight } = this.#rows;
      if (top < scrollTop || top > scrollTop + clientHeight - 90) {
        this.#rows.scrollTop = top - 40;
      }
    }
    const isAbove = wrong !== null && wrong.place === null;
    this.#error.hidden = !isAbove;
    setText(this.#error, isAbove && wrong ? wrong.words : "");
    const known = this.#description;
    setText(
      this.#sum,
      known ? `${many(known.parameters, "parameter")}, ${count(known.multiply_adds)} multiply-adds an image.` : "",
    );
    const preset = isList(this.#draft) ? this.#presetOf(this.#draft.layers) : "";
    this.#preset.value = preset;
    this.#state();
    if (focus) {
      document.getElementById(focus)?.focus({ preventScroll: false });
    }
  }

  #presetOf(layers: LayerSpec[]): string {
    const plain = (list: LayerSpec[]) => JSON.stringify([...list.slice(0, -1), list.at(-1)?.type]);
    return presets.find((preset) => plain(preset.layers) === plain(layers))?.id ?? "";
  }

  #state(): void {
    const isNew = JSON.stringify(this.#draft) !== this.#applied;
    const state = document.documentElement.dataset.state;
    this.#apply.disabled = !this.#description || !isNew || (state !== "ready" && state !== "training");
    this.#undo.disabled = this.#past.length === 0;
    const words = !this.#applied
      ? ""
      : !this.#description
      ? "This network is not possible. The one before goes on."
      : isNew
        ? "Apply starts from new weights."
        : "This network is in use.";
    setText(this.#applyHint, words);
  }

  #listRows(layers: LayerSpec[], wrong: { place: number | null; words: string } | null): HTMLElement[] {
    return layers.map((layer, place) => {
      // The description has a node a layer of a plain list.
      const node = this.#description?.nodes[place];
      const parameters = node?.tensors.reduce((sum, [, shape]) => sum + shape.reduce((all, side) => all * side, 1), 0) ?? 0;
      const made = node ? `${shapeText(node.output)}${parameters ? ` \u00b7 ${count(parameters)}` : ""}` : "";
      const isOpen = place === this.#open;
      const row = make(
        "button",
        {
          type: "button",
          id: `row-${place}`,
          class: layer.type === "Conv2d" || layer.type === "Linear" ? "layer-row conv" : "layer-row",
          "aria-expanded": String(isOpen),
          "aria-keyshortcuts": "Alt+ArrowUp Alt+ArrowDown Delete",
        },
        make("span", { class: "place" }, String(place)),
        make("span", { class: "what" }, make("b", {}, layer.type), make("span", {}, wordsOf(layer))),
        make("span", { class: "made", title: "output, parameters" }, made),
      );
      row.addEventListener("click", () => {
        this.#open = isOpen ? null : place;
        this.#show(`row-${place}`);
      });
      row.addEventListener("keydown", (event) => {
        const by = event.key === "ArrowUp" ? -1 : event.key === "ArrowDown" ? 1 : 0;
        if (by !== 0 && event.altKey) {
          event.preventDefault();
          this.#move(place, by);
        } else if (by !== 0) {
          event.preventDefault();
          document.getElementById(`row-${place + by}`)?.focus();
        } else if (event.key === "Delete" && layers.length > 1) {
          this.#remove(place);
        }
      });
      const isWrong = wrong !== null && wrong.place === place;
      const item = make("li", { class: isWrong ? "wrong" : "" }, row);
      if (isWrong) {
        item.append(make("p", { class: "error", role: "alert", id: "row-error" }, wrong.words));
      }
      if (isOpen) {
        item.append(this.#editor(layers, layer, place));
      }
      return item;
    });
  }

  #move(place: number, by: number): void {
    const to = place + by;
    if (isList(this.#draft) && to >= 0 && to < this.#draft.layers.length) {
      if (this.#open === place) {
        this.#open = to;
      } else if (this.#open === to) {
        this.#open = place;
      }
      this.#edit((layers) => layers.splice(to, 0, ...layers.splice(place, 1)), `row-${to}`);
    }
  }

  #remove(place: number): void {
    this.#open = null;
    const after = isList(this.#draft) ? Math.min(place, this.#draft.layers.length - 2) : 0;
    this.#edit((layers) => layers.splice(place, 1), `row-${Math.max(0, after)}`);
  }

  /** The numbers of a layer, and the buttons that move, add and remove. */
  #editor(layers: LayerSpec[], layer: LayerSpec, place: number): HTMLElement {
    const isLast = place === layers.length - 1;
    const type = make("select", { id: `type-${place}` }, ...layerTypes.map((name) => make("option", { value: name, selected: name === layer.type }, name)));
    type.addEventListener("change", () => {
      this.#edit((list) => list.splice(place, 1, fresh(type.value as LayerType)));
    });
    const fields = make("div", { class: "editor-fields" }, make("label", {}, "type", type));
    for (const option of options[layer.type]) {
      const value = layer[option.name] ?? option.usual ?? layer.kernel_size ?? 2;
      const isSet = option.name === "out_features" && isLast;
      const field = make("input", { type: "number", id: `${option.name}-${place}`, min: option.min, step: option.step, value, disabled: isSet });
      field.addEventListener("change", () => {
        const number = field.valueAsNumber;
        if (Number.isFinite(number)) {
          this.#edit((list) => {
            const changed = list[place];
            if (changed) {
              changed[option.name] = number;
            }
          });
        }
      });
      fields.append(make("label", {}, isSet ? "classes" : option.label, field));
    }
    if (layer.type === "Conv2d") {
      const box = make("input", { type: "checkbox", id: `bias-${place}`, checked: layer.bias !== false });
      box.addEventListener("change", () => {
        this.#edit((list) => {
          const changed = list[place];
          if (changed) {
            changed.bias = box.checked;
          }
        });
      });
      fields.append(make("label", { class: "check" }, box, "bias"));
    }
    const button = (id: string, text: string, label: string, disabled: boolean, act: () => void) => {
      const made = make("button", { type: "button", id: `${id}-${place}`, class: "small", "aria-label": label, disabled }, text);
      made.addEventListener("click", act);
      return made;
    };
    const buttons = make(
      "div",
      { class: "row" },
      button("up", "\u2191", "Move up", place === 0, () => this.#move(place, -1)),
      button("down", "\u2193", "Move down", isLast, () => this.#move(place, 1)),
      button("add", "Add below", "Add a layer below", false, () => {
        this.#open = place + 1;
        this.#edit((list) => list.splice(place + 1, 0, fresh("ReLU")), `type-${place + 1}`);
      }),
      button("remove", "Remove", "Remove this layer", layers.length < 2, () => this.#remove(place)),
    );
    return make("div", { class: "editor" }, fields, buttons);
  }

  /** The layers of a network that is no plain list, only to be read. */
  #fixedRows(): HTMLElement[] {
    const nodes = this.#description?.nodes ?? [];
    return nodes.map(({ key, name, output }) =>
      make(
        "li",
        { class: "layer-row" },
        make("span", { class: "place" }, ""),
        make("span", { class: "what" }, make("b", {}, name), make("span", {}, key)),
        make("span", { class: "made" }, shapeText(output)),
      ),
    );
  }
}

export function startNetworkPanel(): void {
  new NetworkPanel();
}
