// The address: what the table shows and which node is open, after the #, so that a link to it can be sent and Back
// works. Names stand for themselves; a cause is its place in the list, from 1.

const encoded = (...parts) => parts.map(encodeURIComponent).join("/");
const poolPath = ([account, id]) => encoded(page.accounts[account], id);
const nodePath = (row) => `${poolPath(poolOf(row))}/${encodeURIComponent(row[NODE])}`;
const outcomeName = (outcome) => (outcome === "missing" ? "missing" : page.outcomes[outcome]);
const troubleName = (trouble) => (trouble === "any" ? "any" : encoded(page.trouble[trouble]));

function addressOf({ words, outcome, account, pool, trouble, cause }, node) {
  const parts = [
    ["cause", cause === null ? "" : String(cause + 1)],
    ["outcome", outcome && outcomeName(outcome)],
    ["account", account && encoded(page.accounts[account])],
    ["pool", pool && poolPath(page.pools[pool])],
    ["trouble", trouble && troubleName(trouble)],
    ["q", encoded(words)],
    ["node", node === null ? "" : nodePath(rows[node])],
  ];
  return parts.filter(([, value]) => value !== "").map(([name, value]) => `${name}=${value}`).join("&");
}

// Filter and node of an address; what does not exist in this run is ignored.
function readAddress(hash) {
  const found = {};
  for (const part of hash.replace(/^#/, "").split("&")) {
    const [, name, value] = /^([a-z]+)=(.*)$/.exec(part) ?? [];
    if (name) found[name] = value;
  }
  const decoded = (value) => {
    try {
      return decodeURIComponent(value);
    } catch {
      return value;
    }
  };
  const placeIn = (all, name) => {
    const place = name === undefined ? -1 : all.indexOf(decoded(name));
    return place < 0 ? "" : String(place);
  };
  const pool = found.pool === undefined ? -1 : page.pools.findIndex((pool) => poolPath(pool) === found.pool);
  const node = found.node === undefined ? -1 : rows.findIndex((row) => nodePath(row) === found.node);
  const cause = Number(found.cause ?? 0) - 1;
  const filter = {
    words: decoded(found.q ?? ""),
    outcome: found.outcome === "missing" ? "missing" : placeIn(page.outcomes, found.outcome),
    account: placeIn(page.accounts, found.account),
    pool: pool < 0 ? "" : String(pool),
    trouble: found.trouble === "any" ? "any" : placeIn(page.trouble, found.trouble),
    cause: page.causes[cause] ? cause : null,
  };
  return { filter, node: node < 0 ? null : node };
}

// Writes what is shown into the address: as a new entry of the history, or in place of the present one.
function writeAddress({ push = false, drawer = false } = {}) {
  const hash = addressOf(table.filter, table.node);
  const url = hash === "" ? location.pathname + location.search : `#${hash}`;
  try {
    if (push) history.pushState({ drawer }, "", url);
    else history.replaceState(history.state, "", url);
  } catch {
    // Browsers refuse it in some frames, and if it happens too often; the page works without.
  }
}

// After the details were closed: back to where they were opened, or, if a link led to them, the same page without them.
function leaveNode() {
  table.node = null;
  if (history.state?.drawer) history.back();
  else writeAddress();
}

// Shows what the address says.
function followAddress() {
  const { filter, node } = readAddress(location.hash);
  if (addressOf(filter, null) !== addressOf(table.filter, null)) limit(filter);
  table.node = node;
  if (node !== null) fillDetails(rows[node]);
  else if (dialog.open) dialog.close();
  return addressOf(filter, null) !== "";
}

function setUpAddress() {
  const isFiltered = followAddress();
  // A browser that reloads or goes back scrolls by itself.
  const isNew = performance.getEntriesByType("navigation")[0]?.type === "navigate";
  if (isFiltered && isNew) byId("nodes").scrollIntoView();
  addEventListener("popstate", followAddress);
  // Links within the page leave the address alone.
  document.addEventListener("click", (event) => {
    const to = event.target.closest?.("a[href^='#']");
    if (!to) return;
    event.preventDefault();
    const target = byId(to.getAttribute("href").slice(1));
    target.scrollIntoView({ behavior: scrolling() });
    target.focus({ preventScroll: true });
  });
}
