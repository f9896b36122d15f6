"use strict";
// The data of the page, and what its parts share. Text from outside is never interpreted as markup: `el` creates the
// elements, and this script does not use innerHTML.

const page = JSON.parse(document.getElementById("page-data").textContent);
const rows = JSON.parse(document.getElementById("node-data").textContent);

// The order of a row's members: crates/report/src/page/data.rs.
const POOL = 0, NODE = 1, OUTCOME = 2, REASON = 3, CAUSE = 4, DIRECTORY = 5, PROMISED = 6, ARRIVED = 7, BYTES = 8,
  VERIFIED = 9, ATTEMPTS = 10, EVIDENCE = 11, SINCE = 12, MORE = 13, PLACE = 14;
// Of a pool.
const POOL_ACCOUNT = 0, POOL_ID = 1, POOL_COUNTS = 2;

const byId = (id) => document.getElementById(id);
const text = (place) => (place === null ? null : page.texts[place]);
const poolOf = (row) => page.pools[row[POOL]];
const accountOf = (row) => page.accounts[poolOf(row)[POOL_ACCOUNT]];

// Of each outcome: its rank, the worst first, and whether its nodes count as collected.
const { urgency, collected } = page;
const isCollected = (row) => collected[row[OUTCOME]];

const inOrder = new Intl.Collator("en", { numeric: true }).compare;

// Ids are sorted as people expect: tvm-2 before tvm-10, and 06f5 before 0fa0 before 10fd. The digits of a hexadecimal
// word are not a number, so if there are such words, ids are compared character by character.
const HEX_WORD = /(^|[^0-9a-z])(?=[0-9a-f]{4,}([^0-9a-z]|$))[0-9a-f]*[0-9][a-f]/i;
const plainOrder = (a, b) => (a < b ? -1 : a > b ? 1 : 0);
const idOrder = rows.some((row) => HEX_WORD.test(row[NODE])) ? plainOrder : inOrder;

// The position of each value in sorted order.
function ranks(values, compare) {
  const rank = [];
  [...values.keys()].sort((a, b) => compare(values[a], values[b])).forEach((at, place) => { rank[at] = place; });
  return rank;
}

// Names are compared only here: the last member of a row is its position by account, pool and node.
const accountRank = ranks(page.accounts, inOrder);
const poolRank = ranks(page.pools, (a, b) => accountRank[a[POOL_ACCOUNT]] - accountRank[b[POOL_ACCOUNT]] || inOrder(a[POOL_ID], b[POOL_ID]));
ranks(rows, (a, b) => poolRank[a[POOL]] - poolRank[b[POOL]] || idOrder(a[NODE], b[NODE]))
  .forEach((place, at) => { rows[at][PLACE] = place; });
const byPlace = (a, b) => a[PLACE] - b[PLACE];

const number = new Intl.NumberFormat("en").format;
const counted = (many, what) => `${number(many)} ${what}${many === 1 ? "" : "s"}`;

// Invisible characters, and those that reverse the direction of text, are spelled out.
const HIDDEN = /[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]/g;
const spelled = (mark) => (/[\n\r\t]/.test(mark) ? " " : `\\u{${mark.codePointAt(0).toString(16)}}`);
const shown = (value) => String(value).replace(HIDDEN, spelled);

// Shortened in the middle: ids differ at their end as often as at their start.
function shortened(value, width) {
  const marks = [...shown(value)], tail = Math.floor((width - 1) / 2);
  return marks.length <= width ? marks.join("") : `${marks.slice(0, width - 1 - tail).join("")}…${marks.slice(-tail).join("")}`;
}

// An element with properties and children; what is not an element is shown as text.
function el(tag, properties, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties ?? {})) {
    if (name === "class") element.className = value;
    else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name.includes("-") || name === "role" || name === "scope") element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...children.filter((child) => child !== null && child !== undefined)
    .map((child) => (child instanceof Node ? child : shown(child))));
  return element;
}

function svg(tag, attributes, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

// An outcome's shape and word.
function outcomeMark(outcome) {
  const name = page.outcomes[outcome];
  const shape = svg("svg", { class: "shape", "aria-hidden": "true" }, svg("use", { href: `#${name}` }));
  return el("span", { class: "outcome" }, shape, name);
}

// A plain table: heads, then rows of cells. A head that ends with # is of a column of numbers. On a narrow screen each
// row is a block, in which the labels stand before the values.
function plainTable(heads, lines) {
  const isNumber = heads.map((head) => head.endsWith("#"));
  const names = heads.map((head, at) => (isNumber[at] ? head.slice(0, -1) : head));
  const head = names.map((name, at) => el("th", { scope: "col", class: isNumber[at] ? "n" : "" }, name));
  const body = lines.map((cells) => el("tr", null, ...cells.map((cell, at) => {
    if (at === 0) return el("th", { scope: "row" }, cell);
    return el("td", { class: cell === "" ? "empty" : isNumber[at] ? "n" : "", "data-label": names[at] }, cell);
  })));
  return el("table", { class: "stacked" }, el("thead", null, el("tr", null, ...head)), el("tbody", null, ...body));
}

// `2026-11-22 09:30:00` in UTC, from milliseconds since the start of the run.
const moment = (after) => new Date(page.start + after).toISOString().slice(0, 19).replace("T", " ");
const timeOfDay = (after) => new Date(page.start + after).toISOString().slice(11, 19);

function duration(milliseconds) {
  const seconds = Math.round(milliseconds / 1000);
  const pad = (value) => String(value).padStart(2, "0");
  if (seconds < 60) return `${seconds}s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)}m ${pad(seconds % 60)}s`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)}h ${pad(Math.floor(seconds / 60) % 60)}m`;
  return `${Math.floor(seconds / 86400)}d ${pad(Math.floor(seconds / 3600) % 24)}h`;
}

function size(bytes) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
  let unit = 0;
  while (bytes >= 1024 && unit < units.length - 1) {
    bytes /= 1024;
    unit += 1;
  }
  return unit === 0 ? `${bytes} B` : `${bytes.toFixed(1)} ${units[unit]}`;
}

// `3/4` files; a dash if they were not checked.
function files(row) {
  if (row[ARRIVED] === null && row[PROMISED] === null) return "–";
  return `${row[ARRIVED] ?? "–"}/${row[PROMISED] ?? "?"}`;
}

// The URL of a node's directory, without a SAS: the URL of the container has no query. There are no links into the
// portal or Storage Explorer: they would need the subscription and resource group of the storage account.
function directoryUrl(row) {
  if (row[DIRECTORY] === null || !/^https?:\/\//.test(page.destination)) return null;
  const path = row[DIRECTORY].split("/").map(encodeURIComponent).join("/");
  try {
    const url = new URL(`${page.destination.replace(/\/+$/, "")}/${path}`);
    return url.search || url.username ? null : url.href;
  } catch {
    return null;
  }
}

// The command that downloads a directory; none if account or directory have characters with a meaning in a shell or a
// pattern.
function downloadCommand(row) {
  const found = /^https:\/\/([a-z0-9]+)\.blob\.core\.[a-z.]+\/([a-z0-9$-]+)\/?$/.exec(page.destination);
  if (!found || row[DIRECTORY] === null || !/^[A-Za-z0-9][A-Za-z0-9._/-]*$/.test(row[DIRECTORY])) return null;
  const [, account, container] = found;
  return `az storage blob download-batch --auth-mode login --account-name ${account} --source ${container} `
    + `--pattern "${row[DIRECTORY]}/*" --destination .`;
}

// A button that copies a text and reports whether that worked. If it did not, the text is selected, if it is shown.
function copyButton(value, what, shownIn = null) {
  const button = el("button", { type: "button", class: "copy", "aria-label": `Copy ${what}` }, "Copy");
  button.addEventListener("click", async () => {
    const done = await copied(value);
    if (!done && shownIn) getSelection().selectAllChildren(shownIn);
    button.textContent = done ? "Copied" : shownIn ? "Press Ctrl-C" : "Not copied";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  });
  return button;
}

async function copied(value) {
  try {
    await navigator.clipboard.writeText(value);
    return true;
  } catch {
    return copiedTheOldWay(value);
  }
}

// For browsers that do not give pages from files access to the clipboard.
function copiedTheOldWay(value) {
  const area = el("textarea", { value, class: "unseen", readOnly: true });
  const focused = document.activeElement;
  const host = document.querySelector("dialog[open]") ?? document.body;
  host.append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  focused?.focus({ preventScroll: true });
  return done;
}

const tip = byId("tip");

// Shows lines of text beside a point of the window.
function showTip(x, y, ...lines) {
  tip.replaceChildren(...lines.filter(Boolean).map((line) => el("div", null, line)));
  tip.hidden = false;
  const { width, height } = tip.getBoundingClientRect();
  tip.style.left = `${Math.max(4, Math.min(x + 14, innerWidth - width - 8))}px`;
  tip.style.top = `${y + 18 + height > innerHeight ? Math.max(4, y - height - 10) : y + 18}px`;
}

function hideTip() {
  tip.hidden = true;
}

// What the service reports on a node: the place of the kind of trouble, or null.
const troubleOf = (row) => page.trouble_of_evidence[row[EVIDENCE]] ?? null;

const scrolling = () => (matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth");
