"use strict";

// Tables that are marked so can be searched, and sorted by each column. Players are made when they are asked for: two
// thousand at once make a page slow. Without this script the tables are plain ones, and all players are there.

const collator = new Intl.Collator(undefined, { numeric: true });

// A number, or a text; null where there is none, which comes last in either direction.
function valueOf(row, column) {
  const cell = row.cells[column];
  const value = cell.dataset.value;
  if (value === undefined) return cell.textContent.trim() || null;
  return value === "" ? null : Number(value);
}

function compare(one, other) {
  if (typeof one === "number" && typeof other === "number") return one - other;
  return collator.compare(String(one), String(other));
}

function sort(table, column, direction) {
  const body = table.tBodies[0];
  const keyed = [...body.rows].map((row) => ({ row, value: valueOf(row, column) }));
  const known = keyed.filter((one) => one.value !== null);
  const unknown = keyed.filter((one) => one.value === null);
  known.sort((one, other) => direction * compare(one.value, other.value));
  body.append(...[...known, ...unknown].map((one) => one.row));
}

function makeSortable(table) {
  const headers = [...table.tHead.rows[0].cells];
  headers.forEach((header, column) => {
    if (table.tBodies[0].rows[0]?.cells[column].classList.contains("sound")) {
      header.classList.add("sound");
      return;
    }
    const button = document.createElement("button");
    button.type = "button";
    button.append(...header.childNodes);
    header.append(button);
    button.addEventListener("click", () => {
      const first = header.classList.contains("number") ? "descending" : "ascending";
      const second = first === "ascending" ? "descending" : "ascending";
      const order = header.getAttribute("aria-sort") === first ? second : first;
      headers.forEach((each) => each.removeAttribute("aria-sort"));
      header.setAttribute("aria-sort", order);
      sort(table, column, order === "ascending" ? 1 : -1);
    });
  });
}

function plain(text) {
  return text.normalize("NFKC").toLowerCase();
}

function textOf(row) {
  const cells = [...row.cells].filter((cell) => !cell.classList.contains("sound"));
  return plain(cells.map((cell) => cell.textContent).join("\n"));
}

function makeSearchable(table) {
  const rows = [...table.tBodies[0].rows];
  const texts = rows.map(textOf);
  const label = document.createElement("label");
  const input = document.createElement("input");
  const found = document.createElement("span");
  const line = document.createElement("div");
  input.type = "search";
  label.append("Search ", input);
  found.setAttribute("role", "status");
  line.className = "search";
  line.append(label, found);
  table.parentElement.before(line);
  input.addEventListener("input", () => {
    const wanted = plain(input.value).split(/\s+/).filter(Boolean);
    let shown = 0;
    rows.forEach((row, number) => {
      const matches = wanted.every((word) => texts[number].includes(word));
      row.hidden = !matches;
      if (matches) shown += 1;
    });
    found.textContent = wanted.length ? `${shown} of ${rows.length} rows` : "";
  });
}

// The player stands as text in a <noscript>, as page.html has written it.
function play(button) {
  const cell = button.parentElement;
  const player = cell.querySelector("noscript").textContent;
  for (const other of document.querySelectorAll("audio")) other.pause();
  button.insertAdjacentHTML("beforebegin", player);
  button.remove();
  const audio = cell.querySelector("audio");
  audio.focus();
  audio.play();
}

for (const player of document.querySelectorAll("td.sound noscript")) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = "\u25b6 play";
  button.setAttribute("aria-label", `play ${player.dataset.recording}`);
  button.addEventListener("click", () => play(button));
  player.after(button);
}

for (const table of document.querySelectorAll("table[data-searchable]")) {
  makeSortable(table);
  makeSearchable(table);
}
