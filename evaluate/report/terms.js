// Terms: what a label means, beside it on hover and focus. Without this script the browser shows the title on hover.
"use strict";
(() => {
  const tip = document.createElement("div");
  tip.id = "tip";
  tip.setAttribute("role", "tooltip");
  tip.hidden = true;
  document.body.append(tip);

  function show({ target }) {
    const term = target.closest?.(".term");
    if (!term) return;
    if (term.title) {
      term.dataset.line = term.title;
      term.removeAttribute("title");
    }
    tip.textContent = term.dataset.line;
    tip.hidden = false;
    term.setAttribute("aria-describedby", "tip");
    const [at, room] = [term.getBoundingClientRect(), document.documentElement.clientWidth];
    tip.style.left = `${scrollX + Math.max(4, Math.min(at.left, room - tip.offsetWidth - 8))}px`;
    tip.style.top = `${scrollY + at.bottom + 4}px`;
  }

  function hide({ target }) {
    target.closest?.(".term")?.removeAttribute("aria-describedby");
    tip.hidden = true;
  }

  document.addEventListener("mouseover", show);
  document.addEventListener("focusin", show);
  document.addEventListener("mouseout", hide);
  document.addEventListener("focusout", hide);
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") tip.hidden = true; });
})();
