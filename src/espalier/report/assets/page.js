"use strict";
(() => {
  const all = (query, root = document) => [...root.querySelectorAll(query)];
  const ids = (element) => (element.dataset.run || "").split(" ").filter(Boolean);
  const lang = document.documentElement.lang;
  const number = (value, digits) => value.toLocaleString(lang, { minimumFractionDigits: digits, maximumFractionDigits: digits });
  const tip = document.getElementById("tip");
  const linked = all("[data-run]").filter((element) => ids(element).length);

  const light = (wanted) => {
    for (const element of linked) {
      element.classList.toggle("hot", ids(element).some((id) => wanted.includes(id)));
    }
  };
  let pinned = [];
  const show = (text, x, y) => {
    tip.textContent = text;
    tip.classList.add("on");
    const { width, height } = tip.getBoundingClientRect();
    tip.style.left = `${Math.max(6, Math.min(x + 14, innerWidth - width - 6))}px`;
    tip.style.top = `${Math.max(6, y - height - 12)}px`;
  };
  const hide = () => { tip.classList.remove("on"); light(pinned); };
  const toRow = (id) => {
    const row = document.getElementById(`run-${id}`);
    if (!row) return;
    row.hidden = false;
    row.scrollIntoView({ block: "center" });
  };

  for (const figure of all(".chart")) {
    const svg = figure.querySelector("svg");
    if (!svg) continue;
    const spots = JSON.parse(figure.querySelector("script").textContent);
    const ring = document.createElementNS("http://www.w3.org/2000/svg", "circle");
    ring.setAttribute("class", "ring");
    ring.setAttribute("r", "5.5");
    ring.style.display = "none";
    svg.append(ring);
    const nearest = (event) => {
      const box = svg.getBoundingClientRect();
      const scale = svg.viewBox.baseVal.width / box.width;
      const x = (event.clientX - box.left) * scale;
      const y = (event.clientY - box.top) * scale;
      let best = null, least = 40 * 40;
      for (const spot of spots) {
        const far = (spot[0] - x) ** 2 + (spot[1] - y) ** 2;
        if (far < least) { least = far; best = spot; }
      }
      return best;
    };
    svg.addEventListener("pointermove", (event) => {
      const spot = nearest(event);
      ring.style.display = spot && !figure.querySelector(".tile") ? "" : "none";
      if (!spot) return hide();
      ring.setAttribute("cx", spot[0]);
      ring.setAttribute("cy", spot[1]);
      show(spot[2], event.clientX, event.clientY);
      light([...pinned, ...spot[3].split(" ").filter(Boolean)]);
    });
    svg.addEventListener("pointerleave", () => { ring.style.display = "none"; hide(); });
    svg.addEventListener("click", (event) => {
      const spot = nearest(event);
      if (!spot || !spot[3]) return;
      pinned = spot[3].split(" ");
      light(pinned);
      toRow(pinned[0]);
    });
  }
  for (const element of all("td[data-run], .card[data-run], tr[data-run]")) {
    if (!ids(element).length) continue;
    element.addEventListener("pointerenter", () => light([...pinned, ...ids(element)]));
    element.addEventListener("pointerleave", () => light(pinned));
    element.addEventListener("click", (event) => {
      pinned = ids(element);
      light(pinned);
      if (event.target.closest(".go")) {
        const point = document.querySelector(`svg [data-run~="${pinned[0]}"]`);
        const figure = point && point.closest("figure");
        if (figure) figure.scrollIntoView({ block: "center" });
      } else if (element.tagName !== "TR") toRow(pinned[0]);
    });
  }

  const table = document.querySelector("#runs table");
  const body = table.tBodies[0];
  const rows = [...body.rows];
  const key = (row, column) => {
    const cell = row.cells[column];
    return cell.dataset.value === undefined ? cell.textContent : Number(cell.dataset.value);
  };
  const compare = (a, b) => {
    if (typeof a === "number" && typeof b === "number") return a - b;
    return String(a).localeCompare(String(b));
  };
  all("th button", table).forEach((button, column) => {
    button.addEventListener("click", () => {
      const head = button.closest("th");
      const down = head.getAttribute("aria-sort") === "ascending";
      all("th", table).forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const missing = (row) => row.cells[column].textContent === "–";
      const ordered = [...rows].sort((a, b) => {
        if (missing(a) !== missing(b)) return missing(a) ? 1 : -1;
        return compare(key(a, column), key(b, column)) * (down ? -1 : 1);
      });
      body.append(...ordered);
    });
  });

  const search = document.querySelector(".filters input");
  const selects = all(".filters select");
  const shown = document.querySelector(".shown");
  for (const select of selects) {
    const column = Number(select.dataset.column);
    const values = new Map(rows.map((row) => [row.cells[column].textContent, key(row, column)]));
    const ordered = [...values].sort((a, b) => compare(a[1], b[1]));
    for (const [value] of ordered) select.add(new Option(value, value));
  }
  const plain = (text) => text.toLowerCase().replace(/(\d),(?=\d)/g, "$1.");
  const filter = () => {
    const wanted = plain(search.value).split(/[\s·]+/).filter(Boolean);
    let count = 0;
    for (const row of rows) {
      const texts = [...row.cells].map((cell) => plain(cell.textContent));
      const said = `γ ${texts[0]} ${texts[1]} bits lr ${search.dataset.lr} ${texts[2]} ${texts.slice(3).join(" ")} ${row.dataset.run}`;
      const tokens = said.split(/\s+/);
      const fits = wanted.every((word) => tokens.some((token) => token === word || (isNaN(word) && token.startsWith(word))))
        && selects.every((s) => !s.value || row.cells[Number(s.dataset.column)].textContent === s.value);
      row.hidden = !fits;
      count += fits ? 1 : 0;
    }
    shown.textContent = shown.dataset.words.replace("{0}", count).replace("{1}", rows.length);
  };
  search.addEventListener("input", filter);
  selects.forEach((select) => select.addEventListener("change", filter));
  filter();

  for (const form of all(".chooser")) {
    const runs = JSON.parse(form.dataset.runs);
    const words = JSON.parse(form.dataset.words);
    const answer = form.querySelector("output");
    const choose = () => {
      const floor = form.elements.floor.value, budget = form.elements.budget.value;
      if (!floor && !budget) { answer.textContent = ""; return; }
      const able = runs.filter((run) => (!floor || run[4] >= Number(floor)) && (!budget || run[1] <= Number(budget)));
      able.sort(floor ? (a, b) => a[1] - b[1] || b[4] - a[4] : (a, b) => b[4] - a[4] || a[1] - b[1]);
      const best = able[0];
      answer.textContent = best ? `${words.ship}: ${best[2]} — ${number(best[0], 2)} %, ${number(best[1], 1)} kB` : words.none;
      pinned = best ? [best[3]] : [];
      light(pinned);
    };
    form.addEventListener("input", choose);
    form.addEventListener("submit", (event) => event.preventDefault());
  }
})();
