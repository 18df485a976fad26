// The list of utterances: sort, filter, show, link, save. Everything comes from the page itself; audio is read when played.
"use strict";
(() => {
  const STEP = 30; // cards shown at a time
  const data = JSON.parse(document.getElementById("data").textContent);
  const form = document.getElementById("filters");
  const cards = document.getElementById("cards");
  const more = document.getElementById("more");
  const count = document.getElementById("count");
  const fields = [...form.querySelectorAll("select, input")];
  const value = (id) => document.getElementById(id).value;
  const byId = new Map(data.utterances.map((u) => [u.id, u]));
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

  // An utterance's own address is its id; where a part of the page or an equals sign makes that ambiguous, `id=…`.
  const link = (id) => (document.getElementById(id) || id.includes("=") ? `#id=${encodeURIComponent(id)}` : `#${encodeURIComponent(id)}`);

  function card(u) {
    const facts = [
      u.speaker ?? "speaker unknown",
      `${u.votes} vote${u.votes === 1 ? "" : "s"}`,
      `entropy ${u.entropy.toFixed(2)}`,
      ...(u.conflict === null ? [] : [`conflict ${u.conflict.toFixed(2)}`]),
      `error ${u.error.toFixed(2)}`,
    ];
    const title = element("h3", {}, element("a", { href: link(u.id) }, u.id));
    const made = element("li", { class: "card", tabindex: "-1" }, title, element("p", { class: "quiet" }, facts.join(" · ")));
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

  function select() {
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

  const rewrite = (hash) => history.replaceState(null, "", hash || location.href.split("#")[0]);

  function update() {
    select();
    const set = fields.filter((field) => field.value !== (field.options?.[0].value ?? ""));
    const address = new URLSearchParams(set.map((field) => [field.id, field.value])).toString();
    rewrite(address && `#${address}`);
  }

  // Not the form's own reset, which also rewrites the address.
  function clear() {
    for (const field of fields) {
      if (field.options) field.selectedIndex = 0;
      else field.value = "";
    }
  }

  function focus(made) {
    made.focus({ preventScroll: true });
    made.scrollIntoView({ block: "center" });
  }

  function open(u) {
    if (!found.includes(u)) {
      clear();
      select();
    }
    const place = found.indexOf(u);
    if (place >= cards.children.length) show(Math.ceil((place + 1) / STEP) * STEP);
    focus(cards.children[place]);
  }

  // What the address says: an utterance, or filters and perhaps an utterance; links to parts of the page are not ours.
  function follow() {
    const hash = location.hash.slice(1);
    const plain = (() => { try { return decodeURIComponent(hash); } catch { return hash; } })();
    if (!hash || document.getElementById(plain)) return;
    if (byId.has(plain)) {
      open(byId.get(plain));
      return;
    }
    const given = new URLSearchParams(hash);
    clear();
    for (const field of fields) if (given.has(field.id)) field.value = given.get(field.id);
    for (const field of fields) if (field.value === "" && field.options) field.selectedIndex = 0;
    select();
    if (byId.has(given.get("id"))) open(byId.get(given.get("id")));
    else if (fields.some((field) => given.has(field.id))) document.getElementById("utterances").scrollIntoView();
  }

  function move(by) {
    const place = [...cards.children].indexOf(document.activeElement?.closest(".card"));
    const next = Math.max(0, place < 0 ? 0 : place + by);
    if (next >= found.length) return;
    if (next >= cards.children.length) show(cards.children.length + STEP);
    focus(cards.children[next]);
    rewrite(link(found[next].id));
  }

  function saved() {
    const quoted = (cell) => (/[",\r\n]/.test(cell ?? "") ? `"${String(cell).replaceAll('"', '""')}"` : String(cell ?? ""));
    const strata = Object.keys(data.strata);
    const shares = data.bars.flatMap((name) => data.classes.map((c) => `${name}: ${c}`));
    const head = ["id", "speaker", "votes", "class", "entropy", "conflict", "error", ...strata, "text", ...shares];
    const rows = found.map((u) => [
      u.id, u.speaker, u.votes, data.classes[u.class], u.entropy, u.conflict, u.error,
      ...strata.map((name) => u.levels[name]), u.text, ...u.bars.flat(),
    ]);
    return [head, ...rows].map((row) => `${row.map(quoted).join(",")}\r\n`).join("");
  }

  form.addEventListener("change", update);
  document.getElementById("words").addEventListener("input", update);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(update));
  more.addEventListener("click", () => {
    const first = show(cards.children.length + STEP);
    first.focus(); // keyboard users go on where the new cards begin
  });
  document.getElementById("export").addEventListener("click", () => {
    const file = URL.createObjectURL(new Blob([saved()], { type: "text/csv" }));
    element("a", { href: file, download: "utterances.csv" }).click();
    setTimeout(() => URL.revokeObjectURL(file), 10000);
  });
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select, audio")) return;
    const by = { j: 1, k: -1 }[event.key];
    if (by) move(by);
  });
  addEventListener("hashchange", follow);
  select();
  follow();
})();
