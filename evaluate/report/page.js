// The list of utterances: sort, filter, show. Everything comes from the page itself; audio is read when it is played.
"use strict";
(() => {
  const STEP = 30; // cards shown at a time
  const data = JSON.parse(document.getElementById("data").textContent);
  const form = document.getElementById("filters");
  const cards = document.getElementById("cards");
  const more = document.getElementById("more");
  const count = document.getElementById("count");
  const value = (id) => document.getElementById(id).value;
  let found = [];

  function element(tag, attributes = {}, ...children) {
    const made = document.createElement(tag);
    for (const [name, text] of Object.entries(attributes)) made.setAttribute(name, text);
    made.append(...children);
    return made;
  }

  function bar(name, shares) {
    const said = data.classes.map((c, i) => `${c} ${Math.round(100 * shares[i])} %`).join(", ");
    const stack = element("div", { class: "stack", role: "img", "aria-label": `${name}: ${said}`, title: said });
    shares.forEach((share, i) => {
      const part = element("span", { class: `b${i % 10}` });
      part.style.width = `${100 * share}%`;
      stack.append(part);
    });
    return element("div", { class: "bar" }, element("span", { title: name }, name), stack);
  }

  function player(u) {
    const audio = element("audio", { controls: "", preload: "none", src: u.audio, "aria-label": `Play ${u.id}` });
    audio.addEventListener("error", () => audio.replaceWith(element("p", { class: "quiet" }, "The audio is not where it was.")));
    return audio;
  }

  function card(u) {
    const facts = [
      u.speaker ?? "speaker unknown",
      `${u.votes} votes`,
      `entropy ${u.entropy.toFixed(2)}`,
      ...(u.conflict === null ? [] : [`conflict ${u.conflict.toFixed(2)}`]),
      `error ${u.error.toFixed(2)}`,
    ];
    const made = element("li", { class: "card" }, element("h3", {}, u.id), element("p", { class: "quiet" }, facts.join(" · ")));
    if (u.text) made.append(element("blockquote", {}, u.text));
    if (u.audio) made.append(player(u));
    made.append(...u.bars.map((shares, i) => bar(data.bars[i], shares)));
    return made;
  }

  function show(upTo) {
    const from = cards.children.length;
    cards.append(...found.slice(from, upTo).map(card));
    more.hidden = cards.children.length >= found.length;
    return cards.children[from];
  }

  function update() {
    const speaker = value("speaker");
    const cls = value("class");
    const words = value("words").trim().toLowerCase();
    const strata = [...form.querySelectorAll("[data-stratum]")].filter((s) => s.value).map((s) => [s.dataset.stratum, s.value]);
    const key = value("sort");
    found = data.utterances
      .filter((u) => !speaker || u.speaker === speaker)
      .filter((u) => cls === "" || u.class === Number(cls))
      .filter((u) => strata.every(([name, level]) => u.levels[name] === level))
      .filter((u) => !words || u.id.toLowerCase().includes(words) || (u.text ?? "").toLowerCase().includes(words))
      .sort((a, b) => b[key] - a[key] || b.error - a.error);
    cards.replaceChildren();
    show(STEP);
    count.textContent = `${found.length} of ${data.utterances.length} utterances`;
  }

  form.addEventListener("change", update);
  document.getElementById("words").addEventListener("input", update);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(update));
  more.addEventListener("click", () => {
    const first = show(cards.children.length + STEP);
    first.tabIndex = -1; // keyboard users go on where the new cards begin
    first.focus();
  });
  update();
})();
