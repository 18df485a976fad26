// Charts: which series are shown, at most four at a time, the vertical axis fitted to them; one figure of several.
"use strict";
(() => {
  const MOST = 4;
  const [TOP, BOTTOM, SPREAD_MARGIN] = [12, 46, 0.06];
  const SVG = "http://www.w3.org/2000/svg";

  function ticks(low, high) {
    const rough = (high - low) / 6;
    const size = 10 ** Math.floor(Math.log10(rough));
    const step = size * [1, 2, 2.5, 5, 10].find((k) => size * k >= rough * 0.999);
    const found = [];
    for (let k = Math.ceil(low / step - 1e-9); k <= Math.floor(high / step + 1e-9); k += 1) found.push(k * step);
    return found;
  }

  const number = (value) => (Math.abs(value) < 1e-12 ? "0" : String(Number(value.toPrecision(4))).replace("-", "−"));

  // Where each mark lies, as a value: read once from where the page drew it.
  function values(svg) {
    const bottom = svg.viewBox.baseVal.height - BOTTOM;
    const [low, high] = [Number(svg.dataset.low), Number(svg.dataset.high)];
    const value = (y) => low + ((bottom - y) / (bottom - TOP)) * (high - low);
    return [...svg.querySelectorAll(".series *, .rule")].flatMap((mark) => {
      const names = { line: ["y1", "y2"], circle: ["cy"], polyline: ["points"] }[mark.tagName];
      if (!names) return [];
      const shape = names[0] === "points" ? mark.getAttribute("points").split(" ").map((p) => p.split(",")) : null;
      const at = shape ? shape.map(([, y]) => value(Number(y))) : names.map((name) => value(Number(mark.getAttribute(name))));
      return [{ mark, names, at, xs: shape?.map(([x]) => x) }];
    });
  }

  function fit(svg, marks) {
    const seen = marks.filter(({ mark }) => !mark.closest(".off")).flatMap(({ at }) => at);
    const [least, most] = [Math.min(...seen), Math.max(...seen)];
    const margin = SPREAD_MARGIN * (most - least) || 0.05;
    const [low, high] = [least - margin, most + margin];
    const [width, height] = [svg.viewBox.baseVal.width, svg.viewBox.baseVal.height];
    const place = (value) => (height - BOTTOM - ((height - BOTTOM - TOP) * (value - low)) / (high - low)).toFixed(1);
    for (const { mark, names, at, xs } of marks) {
      if (xs) mark.setAttribute("points", xs.map((x, i) => `${x},${place(at[i])}`).join(" "));
      else names.forEach((name, i) => mark.setAttribute(name, place(at[i])));
    }
    const group = svg.querySelector(".ticks");
    const [line, text] = [group.querySelector("line"), group.querySelector("text")];
    if (!line) return;
    group.replaceChildren(
      ...ticks(low, high).flatMap((tick) => {
        const [rule, label] = [line.cloneNode(), text.cloneNode()];
        for (const name of ["y1", "y2"]) rule.setAttribute(name, place(tick));
        label.setAttribute("y", Number(place(tick)) + 4);
        label.textContent = number(tick);
        return [rule, label];
      }),
    );
  }

  function show(figure, chosen) {
    for (const svg of figure.querySelectorAll(".panels svg")) {
      svg.marks ??= svg.dataset.low === undefined ? null : values(svg);
      const groups = [...svg.querySelectorAll(".series")];
      for (const group of groups) group.classList.toggle("off", !chosen.includes(group.dataset.n));
      const visible = groups.filter((group) => chosen.includes(group.dataset.n));
      if (svg.dataset.unit)
        visible.forEach((group, place) => {
          const shift = ((place - (visible.length - 1) / 2) * Number(svg.dataset.unit)) / visible.length;
          group.setAttribute("transform", `translate(${shift.toFixed(1)} 0)`);
        });
      if (svg.marks && visible.length) fit(svg, svg.marks);
    }
  }

  for (const figure of document.querySelectorAll("figure")) {
    const entries = [...figure.querySelectorAll(".legend li")];
    if (entries.length <= MOST) continue;
    const boxes = entries.map((entry) => {
      const box = document.createElement("input");
      const label = document.createElement("label");
      box.type = "checkbox";
      box.value = entry.dataset.n;
      box.checked = "shown" in entry.dataset;
      label.append(box, ...entry.childNodes);
      entry.append(label);
      return box;
    });
    const order = boxes.filter((box) => box.checked); // the one that was chosen first gives way to a fifth
    figure.querySelector(".legend").addEventListener("change", ({ target }) => {
      if (target.checked) order.push(target);
      else order.splice(order.indexOf(target), 1);
      if (order.length > MOST) order.shift().checked = false;
      show(figure, order.map((box) => box.value));
    });
  }

  for (const group of document.querySelectorAll(".choose")) {
    const figures = [...group.querySelectorAll(":scope > figure")];
    if (figures.length < 2) continue;
    const select = document.createElement("select");
    figures.forEach((figure, i) => select.append(new Option(figure.querySelector("h3").textContent, i)));
    const update = () => figures.forEach((figure, i) => { figure.hidden = i !== Number(select.value); });
    const label = document.createElement("label");
    label.append(group.dataset.label, select);
    const form = document.createElement("form");
    form.append(label);
    group.prepend(form);
    select.addEventListener("change", update);
    update();
  }
})();
