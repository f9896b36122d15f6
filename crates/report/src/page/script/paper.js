// On paper: the nodes that were not collected, by cause and pool, in columns.

// More nodes on paper are better read in a spreadsheet.
const MOST_PRINTED = 1000;
const PRINTED_ID = 26;

let printed = false;
function fillPaper() {
  for (const details of document.querySelectorAll(".more-causes")) details.open = true;
  if (printed) return;
  printed = true;
  const missing = rows.filter((row) => !isCollected(row)).sort((a, b) => urgency[a[OUTCOME]] - urgency[b[OUTCOME]] || byPlace(a, b));
  const all = page.pools.reduce((sum, pool) => sum + missingOf(pool), 0);
  const more = all - Math.min(missing.length, MOST_PRINTED);
  byId("print-nodes").replaceChildren(
    el("p", null, all === 0 ? "Every planned node was collected."
      : `${counted(all, "node")} not collected${more > 0 ? `, of which ${number(all - more)} are shown; nodes.csv has all` : ""}. Ids are shortened in the middle; nodes.csv has them whole.`),
    ...byCause(missing.slice(0, MOST_PRINTED)));
}

function byCause(nodes) {
  const groups = new Map();
  for (const row of nodes) {
    const cause = page.causes.findIndex((cause) => cause && isOfCause(row, cause));
    const key = cause < 0 ? `${row[OUTCOME]} ${row[CAUSE]}` : cause;
    const why = cause < 0 ? text(row[CAUSE]) ?? "" : byCauseText(cause);
    if (!groups.has(key)) groups.set(key, { why, outcome: row[OUTCOME], pools: new Map() });
    const { pools } = groups.get(key);
    pools.set(row[POOL], [...pools.get(row[POOL]) ?? [], row]);
  }
  return [...groups.values()].map(({ why, outcome, pools }) => {
    const many = [...pools.values()].reduce((sum, rows) => sum + rows.length, 0);
    return el("div", { class: "lost" },
      el("h3", null, number(many), " ", outcomeMark(outcome), ` ${why}`),
      ...[...pools].sort(([a], [b]) => poolRank[a] - poolRank[b]).flatMap(([pool, rows]) => [
        el("p", { class: "where" }, `Account ${page.accounts[page.pools[pool][POOL_ACCOUNT]]}, pool ${page.pools[pool][POOL_ID]}`),
        el("ul", { class: "ids mono" }, ...rows.map((row) => el("li", null, shortened(row[NODE], PRINTED_ID)))),
      ]));
  });
}

const byCauseText = (cause) => document.querySelector(`[data-cause="${cause}"] .why`)?.textContent ?? `cause ${cause + 1}`;

function setUpPaper() {
  addEventListener("beforeprint", fillPaper);
  matchMedia("print").addEventListener("change", (event) => event.matches && fillPaper());
}
