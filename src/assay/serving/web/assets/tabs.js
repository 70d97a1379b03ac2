// Tabs with keyboard navigation (WAI-ARIA): arrow keys move between tabs, Tab moves into the panel.
import { byId } from "./dom.js";

export function setUpTabs(onLeave, onEnter) {
  const tabs = [...byId("tabs").children];
  const choose = (tab) => {
    const old = tabs.find((candidate) => candidate.ariaSelected === "true");
    if (old === tab) return;
    tabs.forEach((other) => {
      other.ariaSelected = String(other === tab);
      other.tabIndex = other === tab ? 0 : -1;
      byId(other.getAttribute("aria-controls")).hidden = other !== tab;
    });
    onLeave(old.getAttribute("aria-controls"));
    onEnter(tab.getAttribute("aria-controls"));
  };
  tabs.forEach((tab, place) => {
    tab.addEventListener("click", () => choose(tab));
    tab.addEventListener("keydown", (event) => {
      const places = { ArrowRight: place + 1, ArrowLeft: place - 1, Home: 0, End: -1 };
      const target = tabs.at(places[event.key] % tabs.length);
      if (!(event.key in places)) return;
      event.preventDefault();
      target.focus();
      choose(target);
    });
  });
}
