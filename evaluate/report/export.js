// Charts as files: SVG, PNG and PDF of what is shown, in light colours, with its legend. Nothing leaves the page.
"use strict";
(() => {
  const SVG = "http://www.w3.org/2000/svg";
  const KEPT = ["fill", "fill-opacity", "stroke", "stroke-width", "stroke-dasharray", "font-size", "font-family", "text-anchor"];
  const [GAP, LINE, SCALE] = [16, 20, 3]; // between panels; height of a line of the legend; pixels of a PNG by unit

  function made(tag, attributes, text = "") {
    const element = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.textContent = text;
    return element;
  }

  // One picture of the panels and the legend. It is drawn off the screen, where every style is written into its elements.
  function picture(figure) {
    const panels = [...figure.querySelectorAll(".panels svg")];
    const stage = document.createElement("div");
    stage.className = "light";
    stage.style.cssText = "position: absolute; left: -10000px; width: 2000px";
    const whole = made("svg", { xmlns: SVG });
    stage.append(whole);
    document.body.append(stage);
    let x = 0;
    for (const panel of panels) {
      const group = made("g", { transform: `translate(${x} 0)` });
      group.append(...panel.cloneNode(true).childNodes);
      whole.append(group);
      x += panel.viewBox.baseVal.width + GAP;
    }
    const width = x - GAP;
    let y = Math.max(...panels.map((panel) => panel.viewBox.baseVal.height)) + LINE;
    let at = 20;
    for (const entry of figure.querySelectorAll(".legend li")) {
      if (entry.querySelector("input")?.checked === false) continue;
      const key = entry.querySelector("line");
      const text = made("text", { x: at + 36, y }, entry.textContent.trim());
      const line = made("line", { class: "line", x1: at, x2: at + 28, y1: y - 4, y2: y - 4 });
      if (key.getAttribute("stroke-dasharray")) line.setAttribute("stroke-dasharray", key.getAttribute("stroke-dasharray"));
      const group = made("g", { class: entry.querySelector("svg").getAttribute("class").replace("key", "") });
      group.append(line, text);
      whole.append(group);
      const wide = text.getComputedTextLength() + 56;
      if (at + wide > width && at > 20) {
        group.setAttribute("transform", `translate(${20 - at} ${LINE})`);
        [at, y] = [20, y + LINE];
      }
      at += wide;
    }
    const height = figure.querySelector(".legend") ? y + 10 : y - LINE;
    whole.querySelectorAll(".off, title").forEach((element) => element.remove());
    for (const mark of whole.querySelectorAll("line, polyline, circle, rect, text")) {
      const style = getComputedStyle(mark);
      for (const name of KEPT) if (mark.tagName === "text" || !name.startsWith("font")) mark.setAttribute(name, style.getPropertyValue(name));
    }
    whole.prepend(made("rect", { x: 0, y: 0, width, height, fill: "#ffffff" }));
    for (const [name, value] of Object.entries({ width, height, viewBox: `0 0 ${width} ${height}` })) whole.setAttribute(name, value);
    return { whole, stage, width, height };
  }

  const source = ({ whole }) => new XMLSerializer().serializeToString(whole);

  async function png(drawn) {
    const image = new Image();
    image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(source(drawn))}`;
    await image.decode();
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [drawn.width * SCALE, drawn.height * SCALE];
    canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
    return new Promise((done) => { canvas.toBlob(done, "image/png"); });
  }

  // PDF's own operators for the few kinds of marks there are; y grows upwards there.
  function operators({ whole, height }) {
    const pen = document.createElement("canvas").getContext("2d");
    const rgb = (colour, opacity = 1) => colour.match(/[\d.]+/g).slice(0, 3).map((v) => (1 - opacity + (opacity * v) / 255).toFixed(3)).join(" ");
    const origin = whole.getScreenCTM().inverse();
    const point = (mark, x, y) => new DOMPoint(x, y).matrixTransform(origin.multiply(mark.getScreenCTM()));
    const at = (mark, x, y) => { const p = point(mark, x, y); return `${p.x.toFixed(2)} ${(height - p.y).toFixed(2)}`; };
    const get = (mark, ...names) => names.map((name) => Number(mark.getAttribute(name)));
    const stroke = (mark) => {
      const dash = mark.getAttribute("stroke-dasharray") ?? "none";
      const dashes = dash === "none" ? "" : dash.match(/[\d.]+/g).join(" ");
      return `${rgb(mark.getAttribute("stroke"))} RG ${parseFloat(mark.getAttribute("stroke-width"))} w [${dashes}] 0 d`;
    };
    const filled = (mark) => `${rgb(mark.getAttribute("fill").replace("#ffffff", "255 255 255"), Number(mark.getAttribute("fill-opacity") ?? 1))} rg`;
    const draw = {
      line(mark) {
        const [x1, y1, x2, y2] = get(mark, "x1", "y1", "x2", "y2");
        return `${stroke(mark)} ${at(mark, x1, y1)} m ${at(mark, x2, y2)} l S`;
      },
      polyline(mark) {
        const points = mark.getAttribute("points").split(" ").map((p) => at(mark, ...p.split(",").map(Number)));
        return `${stroke(mark)} ${points.map((p, i) => `${p} ${i ? "l" : "m"}`).join(" ")} S`;
      },
      rect(mark) {
        const [x, y, w, h] = get(mark, "x", "y", "width", "height");
        return `${filled(mark)} ${at(mark, x, y + h)} ${w} ${h} re f`;
      },
      circle(mark) {
        const [x, y, r] = get(mark, "cx", "cy", "r");
        const k = 0.5523 * r; // a circle of four Bézier curves
        const curve = (...c) => `${c.map(([dx, dy]) => at(mark, x + dx, y + dy)).join(" ")} c`;
        const path = [
          `${at(mark, x + r, y)} m`, curve([r, k], [k, r], [0, r]), curve([-k, r], [-r, k], [-r, 0]),
          curve([-r, -k], [-k, -r], [0, -r]), curve([k, -r], [r, -k], [r, 0]),
        ].join(" ");
        const ring = mark.classList.contains("ring");
        return ring ? `1 1 1 rg ${stroke(mark)} ${path} B` : `${filled(mark)} ${path} f`;
      },
      text(mark) {
        const size = parseFloat(mark.getAttribute("font-size"));
        const text = mark.textContent.replaceAll("−", "–");
        pen.font = `${size}px Helvetica, Arial, sans-serif`;
        const back = { end: 1, middle: 0.5 }[mark.getAttribute("text-anchor")] ?? 0;
        const [x, y] = get(mark, "x", "y");
        const turned = (mark.getAttribute("transform") ?? "").startsWith("rotate");
        const shift = back * pen.measureText(text).width;
        const place = at(mark, x - shift, y);
        const matrix = turned ? `0 1 -1 0 ${place}` : `1 0 0 1 ${place}`;
        const bytes = [...text].map((c) => ({ "–": "\\226", "…": "\\205", "\\": "\\\\", "(": "\\(", ")": "\\)" })[c] ?? (c.charCodeAt(0) < 256 && c.length === 1 ? c : "?"));
        return `BT /F ${size} Tf ${rgb(mark.getAttribute("fill"))} rg ${matrix} Tm (${bytes.join("")}) Tj ET`;
      },
    };
    return [...whole.querySelectorAll(Object.keys(draw).join(", "))].map((mark) => draw[mark.tagName](mark)).join("\n");
  }

  function pdf(drawn) {
    const content = operators(drawn);
    const objects = [
      "<< /Type /Catalog /Pages 2 0 R >>",
      "<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
      `<< /Type /Page /Parent 2 0 R /MediaBox [0 0 ${drawn.width} ${drawn.height}] /Contents 5 0 R /Resources << /Font << /F 4 0 R >> >> >>`,
      "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
      `<< /Length ${content.length} >>\nstream\n${content}\nendstream`,
    ];
    let file = "%PDF-1.4\n";
    const places = objects.map((object, i) => {
      const place = file.length;
      file += `${i + 1} 0 obj\n${object}\nendobj\n`;
      return `${String(place).padStart(10, "0")} 00000 n \n`;
    });
    const end = file.length;
    file += `xref\n0 ${objects.length + 1}\n0000000000 65535 f \n${places.join("")}`;
    file += `trailer << /Size ${objects.length + 1} /Root 1 0 R >>\nstartxref\n${end}\n%%EOF\n`;
    return new Blob([Uint8Array.from(file, (c) => c.charCodeAt(0))], { type: "application/pdf" });
  }

  const formats = { SVG: (drawn) => new Blob([source(drawn)], { type: "image/svg+xml" }), PNG: png, PDF: pdf };

  async function save(figure, format) {
    const drawn = picture(figure);
    const link = document.createElement("a");
    try {
      link.href = URL.createObjectURL(await formats[format](drawn));
    } finally {
      drawn.stage.remove();
    }
    link.download = `${figure.id.replaceAll("/", "-")}.${format.toLowerCase()}`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  }

  for (const figure of document.querySelectorAll("figure")) {
    const place = figure.querySelector(".save");
    for (const format of Object.keys(formats)) {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = format;
      button.setAttribute("aria-label", `Save ${figure.querySelector("h3").textContent} as ${format}`);
      button.addEventListener("click", () => save(figure, format));
      place.append(button);
    }
    place.hidden = false;
  }
})();
