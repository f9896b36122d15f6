// The table of nodes: search, filters, order, pages.

const PAGE_ROWS = matchMedia("(max-width: 760px)").matches ? 20 : 50;
const by = (value) => (a, b) => (value(a) ?? -1) - (value(b) ?? -1);
const columns = [
  { name: "Outcome", compare: by((row) => urgency[row[OUTCOME]]), cell: (row) => outcomeMark(row[OUTCOME]) },
  { name: "Account", class: "account", compare: by((row) => accountRank[poolOf(row)[POOL_ACCOUNT]]), cell: (row) => clipped(accountOf(row)) },
  { name: "Pool", class: "pool", compare: (a, b) => inOrder(poolOf(a)[POOL_ID], poolOf(b)[POOL_ID]), cell: (row) => clipped(poolOf(row)[POOL_ID]) },
  { name: "Node", class: "node", compare: (a, b) => idOrder(a[NODE], b[NODE]), cell: nodeCell },
  { name: "Files", class: "n files", compare: by((row) => row[ARRIVED]), cell: files },
  { name: "Size", class: "n size", compare: by((row) => row[BYTES]), cell: (row) => (row[BYTES] === null ? "–" : size(row[BYTES])) },
  { name: "Calls", class: "n calls", compare: by((row) => row[ATTEMPTS].length), cell: (row) => number(row[ATTEMPTS].length) },
  { name: "Verified", class: "n when", compare: by((row) => row[VERIFIED]), cell: (row) => (row[VERIFIED] === null ? "–" : el("span", { title: `${moment(row[VERIFIED])} UTC` }, timeOfDay(row[VERIFIED]))) },
  { name: "Reason and directory", class: "reason", compare: (a, b) => inOrder(text(a[REASON]) ?? "", text(b[REASON]) ?? ""), cell: reasonCell },
];

const table = {
  order: { column: 0, down: false },
  filter: null,
  found: [],
  page: 0,
  // The node whose details are open.
  node: null,
};
const noFilter = () => ({ words: "", outcome: "", account: "", pool: "", trouble: "", cause: null });

// A name on one line; the whole of it is in the title.
const clipped = (name) => el("div", { class: "clipped", title: shown(name) }, name);

function nodeCell(row) {
  const button = el("button", { type: "button", class: "link mono", "aria-haspopup": "dialog", title: shown(row[NODE]), onclick: () => showNode(row) }, shortened(row[NODE], 22));
  // Place and reason are also here, for narrow screens that hide their columns.
  return el("div", null, button, el("small", { class: "place" }, `${accountOf(row)} / ${poolOf(row)[POOL_ID]}`),
    row[REASON] === null ? null : el("small", { class: "place why" }, text(row[REASON])));
}

// The reason on one line; a node without one has its directory here. The details have both.
function reasonCell(row) {
  if (row[REASON] !== null) return clipped(text(row[REASON]));
  if (row[DIRECTORY] === null) return null;
  const url = directoryUrl(row);
  return el("div", { class: "directory" },
    el("code", { class: "clipped", title: shown(row[DIRECTORY]) }, row[DIRECTORY]), copyButton(row[DIRECTORY], `the directory of ${shown(row[NODE])}`),
    url && el("a", { href: url, target: "_blank", rel: "noopener noreferrer", "aria-label": `Open the directory of ${shown(row[NODE])}` }, "Open"));
}

// The text that a search looks in, built when it is first needed.
const hay = [];
function haystack(at) {
  hay[at] ??= [rows[at][NODE], poolOf(rows[at])[POOL_ID], accountOf(rows[at]), text(rows[at][REASON]), rows[at][DIRECTORY],
    page.evidence[rows[at][EVIDENCE]].state, ...(page.evidence[rows[at][EVIDENCE]].errors ?? []).map(({ code }) => code),
    ...rows[at][ATTEMPTS].flatMap(([, , client, request, , code]) => [client, request, text(code)])]
    .filter(Boolean).join("\n").toLowerCase();
  return hay[at];
}

function isOfCause(row, [outcome, pools, reason]) {
  return row[OUTCOME] === outcome && pools.includes(row[POOL]) && (reason === null || row[CAUSE] === reason);
}

function matches(at) {
  const row = rows[at], { words, outcome, account, pool, trouble, cause } = table.filter;
  return (cause === null || isOfCause(row, page.causes[cause]))
    && (outcome === "" || (outcome === "missing" ? !isCollected(row) : row[OUTCOME] === Number(outcome)))
    && (account === "" || poolOf(row)[POOL_ACCOUNT] === Number(account))
    && (pool === "" || row[POOL] === Number(pool))
    && (trouble === "" || (trouble === "any" ? troubleOf(row) !== null : troubleOf(row) === Number(trouble)))
    && (words === "" || words.toLowerCase().split(/\s+/).every((word) => haystack(at).includes(word)));
}

function refresh() {
  const { column, down } = table.order;
  const compare = columns[column].compare;
  table.found = [...rows.keys()].filter(matches)
    .sort((a, b) => (down ? -1 : 1) * compare(rows[a], rows[b]) || byPlace(rows[a], rows[b]));
  table.page = 0;
  showPage();
  showChip();
}

function showPage() {
  const { found, page: at } = table;
  const from = at * PAGE_ROWS, to = Math.min(from + PAGE_ROWS, found.length);
  byId("body").replaceChildren(...found.slice(from, to).map((at) => el("tr", null, ...columns.map((column) => {
    return el("td", { class: column.class ?? "" }, column.cell(rows[at]));
  }))));
  byId("found").textContent = found.length === rows.length ? counted(rows.length, "node")
    : `${number(found.length)} of ${counted(rows.length, "node")}`;
  if (found.length === 0) {
    byId("body").replaceChildren(el("tr", null, el("td", { colSpan: columns.length, class: "nothing" }, "No node matches.")));
  }
  byId("pager").hidden = found.length <= PAGE_ROWS;
  byId("place").textContent = `${number(from + 1)} to ${number(to)} of ${number(found.length)}`;
  byId("previous").disabled = at === 0;
  byId("following").disabled = to >= found.length;
}

// The filter that is not in the form: a cause.
function showChip() {
  const { cause } = table.filter, chip = byId("chip");
  chip.hidden = cause === null;
  chip.replaceChildren();
  if (cause !== null) {
    chip.append(el("span", null, causeText(cause)),
      el("button", { type: "button", "aria-label": "Show all nodes again", onclick: () => goTo({}) }, "✕"));
  }
}

function causeText(cause) {
  const why = document.querySelector(`[data-cause="${cause}"] .why`);
  return `Cause: ${why ? why.textContent : cause + 1}`;
}

// Replaces the filter and updates the form.
function limit(to) {
  table.filter = { ...noFilter(), ...to };
  byId("search").value = table.filter.words;
  byId("by-outcome").value = table.filter.outcome;
  byId("by-account").value = table.filter.account;
  offerPools();
  byId("by-pool").value = table.filter.pool;
  byId("by-trouble").value = table.filter.trouble;
  refresh();
}

// Replaces the filter and scrolls to the table; Back leads back.
function goTo(to) {
  limit(to);
  writeAddress({ push: true });
  showTable();
  byId("nodes").focus({ preventScroll: true });
}

function showTable() {
  byId("nodes").scrollIntoView({ behavior: scrolling() });
}

function offerPools() {
  const account = table.filter.account;
  const pools = [...page.pools.keys()].filter((at) => account === "" || page.pools[at][POOL_ACCOUNT] === Number(account));
  pools.sort((a, b) => inOrder(page.pools[a][POOL_ID], page.pools[b][POOL_ID]));
  const isTwice = new Set(), ids = new Set();
  for (const at of pools) (ids.has(page.pools[at][POOL_ID]) ? isTwice : ids).add(page.pools[at][POOL_ID]);
  const name = ([owner, id]) => (isTwice.has(id) ? `${id} (${page.accounts[owner]})` : id);
  byId("by-pool").replaceChildren(el("option", { value: "" }, "all"),
    ...pools.map((at) => el("option", { value: String(at) }, name(page.pools[at]))));
}

function setUpTable() {
  byId("columns").append(...columns.map((column, at) => el("th", { scope: "col", class: column.class ?? "" },
    el("button", { type: "button", onclick: () => orderBy(at) }, column.name, el("span", { class: "arrow", "aria-hidden": "true" })))));
  const occurring = page.outcomes.map((name, at) => [name, at]).filter(([, at]) => page.pools.some((pool) => pool[POOL_COUNTS][at] > 0));
  byId("by-outcome").append(el("option", { value: "" }, "all"), el("option", { value: "missing" }, "not collected"),
    ...occurring.map(([name, at]) => el("option", { value: String(at) }, name)));
  byId("by-account").append(el("option", { value: "" }, "all"), ...page.accounts.map((name, at) => el("option", { value: String(at) }, name)));
  byId("by-trouble").append(el("option", { value: "" }, "all"), el("option", { value: "any" }, "any trouble"),
    ...page.trouble.map((kind, at) => el("option", { value: String(at) }, kind)));
  byId("by-trouble-label").hidden = page.trouble.length === 0;
  const form = byId("filters");
  form.addEventListener("submit", (event) => event.preventDefault());
  // `limit` resets every field itself.
  form.addEventListener("reset", (event) => {
    event.preventDefault();
    limit({});
    writeAddress();
  });
  for (const [id, name] of [["search", "words"], ["by-outcome", "outcome"], ["by-account", "account"], ["by-pool", "pool"], ["by-trouble", "trouble"]]) {
    byId(id).addEventListener("input", () => {
      table.filter[name] = byId(id).value.trim();
      if (name === "account") {
        table.filter.pool = "";
        offerPools();
      }
      refresh();
      writeAddress();
    });
  }
  byId("previous").addEventListener("click", () => turn(-1));
  byId("following").addEventListener("click", () => turn(1));
  table.filter = noFilter();
  offerPools();
  orderBy(0);
}

function turn(by) {
  table.page += by;
  showPage();
  byId("table-top").scrollIntoView({ block: "start", behavior: scrolling() });
}

// The same column again reverses the order.
function orderBy(column) {
  const { order } = table;
  order.down = order.column === column && document.querySelector("#columns [aria-sort]") ? !order.down : false;
  order.column = column;
  [...byId("columns").children].forEach((head, at) => {
    if (at === column) head.setAttribute("aria-sort", order.down ? "descending" : "ascending");
    else head.removeAttribute("aria-sort");
  });
  refresh();
}

// Adds buttons to what the page shows without a script.
function setUpShortcuts() {
  for (const line of document.querySelectorAll("[data-cause]")) {
    const cause = Number(line.dataset.cause);
    if (!page.causes[cause]) continue;
    const nodes = line.querySelector(".count b").textContent;
    const what = nodes === "1" ? "Show this node" : `Show these ${nodes} nodes`;
    line.querySelector(".where").append(" ", el("button", { type: "button", class: "link controls", "aria-label": `${what}, of cause ${cause + 1}, in the table`, onclick: () => goTo({ cause }) }, what));
  }
  for (const line of document.querySelectorAll("[data-outcome]")) {
    const outcome = String(page.outcomes.indexOf(line.dataset.outcome));
    becomeButton(line.querySelector(".outcome"), "outcome link", () => goTo({ outcome }));
  }
  for (const kind of document.querySelectorAll("[data-trouble]")) {
    const { trouble } = kind.dataset;
    becomeButton(kind, "link", () => goTo({ trouble }));
  }
  for (const command of document.querySelectorAll(".command")) {
    command.after(copyButton(command.textContent, "the command", command));
  }
}

function becomeButton(element, looks, onclick) {
  const button = el("button", { type: "button", class: looks, title: "Show these nodes in the table", onclick });
  button.append(...element.childNodes);
  element.replaceWith(button);
}
