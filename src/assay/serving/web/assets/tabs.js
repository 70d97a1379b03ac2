// Tabs as people know them: arrow keys go from one to the next, Tab goes into the page.
import { byId } from "./dom.js";

export function setUpTabs(left, entered) {
  const tabs = [...byId("tabs").children];
  const choose = (tab) => {
    const old = tabs.find((one) => one.ariaSelected === "true");
    if (old === tab) return;
    tabs.forEach((one) => {
      one.ariaSelected = String(one === tab);
      one.tabIndex = one === tab ? 0 : -1;
      byId(one.getAttribute("aria-controls")).hidden = one !== tab;
    });
    left(old.getAttribute("aria-controls"));
    entered(tab.getAttribute("aria-controls"));
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
