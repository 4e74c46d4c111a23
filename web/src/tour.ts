// Three questions about the network in training, as tabs.

import { startCoarse } from "./coarse";
import { byId } from "./dom";
import { startEnough } from "./enough";
import { startUseless } from "./useless";

function startTabs(): void {
  const tabs = [...byId("tour-tabs", HTMLElement).querySelectorAll<HTMLButtonElement>("[role=tab]")];
  const choose = (chosen: HTMLButtonElement | undefined) => {
    for (const tab of tabs) {
      tab.setAttribute("aria-selected", String(tab === chosen));
      tab.tabIndex = tab === chosen ? 0 : -1;
      byId(tab.getAttribute("aria-controls") ?? "", HTMLElement).hidden = tab !== chosen;
    }
    chosen?.focus();
  };
  tabs.forEach((tab, at) => {
    tab.addEventListener("click", () => choose(tab));
    tab.addEventListener("keydown", (event) => {
      const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: -1 }[event.key];
      if (to !== undefined) {
        event.preventDefault();
        choose(tabs.at(to % tabs.length));
      }
    });
  });
}

export function startTour(): void {
  startTabs();
  startCoarse();
  startUseless();
  startEnough();
}
