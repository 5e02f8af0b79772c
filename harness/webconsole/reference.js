"use strict";

// "Keep as reference" freezes the picture. Areas are drawn on it with the mouse, and it is saved
// with them as a reference image.
(() => {
  const keeper = $("keeper"), sheet = $("sheet"), paper = sheet.getContext("2d", { alpha: false });
  let areas = [], dragged = null;

  entered.then(() => fetch("/reference")).then(async answer => {
    if (answer.status !== 200) return;
    $("keptdir").textContent = (await answer.json()).dir;
    $("keep").hidden = false;
  }).catch(() => {});

  function say(text, bad) {
    $("keptsaid").textContent = text;
    $("keptsaid").classList.toggle("bad", !!bad);
    $("keptsaid").scrollIntoView({ block: "nearest" });
  }
  const clamp = (v, least, most) => Math.min(Math.max(v, least), most);

  $("keep").addEventListener("click", () => {
    sheet.width = canvas.width;
    sheet.height = canvas.height;
    paper.drawImage(canvas, 0, 0);
    areas = [];
    say("");
    draw();
    keeper.hidden = false;
    $("keptname").focus();
  });
  const close = () => { keeper.hidden = true; dragged = null; $("keep").focus(); };
  $("keptcancel").addEventListener("click", close);
  keeper.addEventListener("keydown", e => { if (e.key === "Escape") close(); });

  function place(e) {
    const r = sheet.getBoundingClientRect();
    return { x: Math.floor((e.clientX - r.left) * sheet.width / r.width), y: Math.floor((e.clientY - r.top) * sheet.height / r.height) };
  }
  // span returns an area that includes the pixels under both ends of the drag.
  function span(a, b) {
    const x0 = clamp(Math.min(a.x, b.x), 0, sheet.width - 1), y0 = clamp(Math.min(a.y, b.y), 0, sheet.height - 1);
    const x1 = clamp(Math.max(a.x, b.x), 0, sheet.width - 1), y1 = clamp(Math.max(a.y, b.y), 0, sheet.height - 1);
    return { xpos: x0, ypos: y0, width: x1 - x0 + 1, height: y1 - y0 + 1 };
  }
  sheet.addEventListener("mousedown", e => {
    if (e.button !== 0) return;
    e.preventDefault();
    const from = place(e);
    dragged = { from, area: { ...span(from, from), type: $("kepttype").value, match: 100, margin: 0, refstr: "", click: false } };
    areas.push(dragged.area);
    outline();
  });
  window.addEventListener("mousemove", e => {
    if (!dragged) return;
    Object.assign(dragged.area, span(dragged.from, place(e)));
    outline();
  });
  window.addEventListener("mouseup", () => { if (dragged) { dragged = null; draw(); } });

  function outline() {
    $("areas").replaceChildren(...areas.map((a, i) => {
      const box = document.createElement("div"), number = document.createElement("b");
      box.className = "area " + a.type;
      Object.assign(box.style, { left: a.xpos + "px", top: a.ypos + "px", width: a.width + "px", height: a.height + "px" });
      number.textContent = i + 1;
      box.append(number);
      return box;
    }));
  }

  // draw shows the areas on the picture and in the list.
  function draw() {
    outline();
    $("keptareas").replaceChildren(...areas.map((a, i) => {
      const li = document.createElement("li"), row = document.createElement("div");
      row.className = "row";
      const type = document.createElement("select");
      type.setAttribute("aria-label", `type of area ${i + 1}`);
      for (const name of ["match", "exclude", "ocr"]) type.append(new Option(name, name, false, name === a.type));
      type.addEventListener("change", () => { a.type = type.value; if (a.type === "exclude") a.click = false; draw(); });
      const gone = document.createElement("button");
      gone.type = "button";
      gone.textContent = "Remove";
      gone.addEventListener("click", () => { areas.splice(i, 1); draw(); });
      row.append(`Area ${i + 1}`, type, gone);
      li.append(row);
      const number = (name, field, most) => {
        const label = document.createElement("label"), input = document.createElement("input");
        Object.assign(input, { type: "number", min: 0, max: most, step: field === "match" ? "any" : 1, required: true, value: a[field] });
        input.addEventListener("input", () => { a[field] = Number(input.value); outline(); });
        label.append(name, input);
        li.append(label);
      };
      number("x", "xpos", sheet.width - 1);
      number("y", "ypos", sheet.height - 1);
      number("width", "width", sheet.width);
      number("height", "height", sheet.height);
      if (a.type === "match") {
        number("match, %", "match", 100);
        number("margin", "margin", 16384);
      }
      if (a.type === "ocr") {
        number("match, %", "match", 100);
        const label = document.createElement("label"), input = document.createElement("input");
        Object.assign(input, { type: "text", value: a.refstr, placeholder: "what is read now", spellcheck: false });
        input.addEventListener("input", () => { a.refstr = input.value; });
        label.append("text", input);
        label.className = "reads";
        li.append(label);
      }
      if (a.type !== "exclude") {
        const label = document.createElement("label"), box = document.createElement("input");
        label.className = "click";
        Object.assign(box, { type: "checkbox", checked: a.click });
        box.addEventListener("change", () => { for (const other of areas) other.click = false; a.click = box.checked; draw(); });
        label.append(box, "click here");
        li.append(label);
      }
      return li;
    }));
  }

  $("keptform").addEventListener("submit", async e => {
    e.preventDefault();
    if (!areas.length) return say("Draw at least one area on the picture.", true);
    say("saving …");
    const area = areas.map(a => ({ xpos: a.xpos, ypos: a.ypos, width: a.width, height: a.height, type: a.type,
      ...(a.type === "match" ? { match: a.match, margin: a.margin } : {}),
      ...(a.type === "ocr" ? { match: a.match, ...(a.refstr ? { refstr: a.refstr } : {}) } : {}), ...(a.click ? { click_point: "center" } : {}) }));
    const answer = await fetch("/reference", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({
      name: $("keptname").value, replace: $("keptreplace").checked, png: sheet.toDataURL("image/png").split(",")[1],
      needle: { area, properties: [], tags: $("kepttags").value.split(/\s+/).filter(Boolean) } }) }).catch(() => null);
    if (!answer) return say("The connection to spicelane is gone.", true);
    if (!answer.ok) return say(await answer.text(), true);
    const saved = await answer.json();
    say(`Saved: ${saved.file}`);
    $("said").textContent = `saved ${saved.file}`;
  });
})();
