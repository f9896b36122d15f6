// The map: one shape for each node, in blocks by pool. Shapes are drawn on one canvas, because an element for each
// node would be too many; names are text over the canvas. Nodes without a row are drawn from the counts of their
// pool.

const MOST_CELLS = 200000;
// Browsers refuse larger canvases.
const MOST_CANVAS_PIXELS = 16000;
const GAP = 18, LABEL = 36, ACCOUNT = 32, LEAST_POOL = 150, LEAST_ACCOUNT = 260, BOX_WIDTH = 260, BOX_HEIGHT = 92;
// On paper the map is at most as high as this, so that no page is left blank before it.
const PAPER_WIDTH = 680, PAPER_HEIGHT = 420;

const map = { blocks: [], boxes: [], cell: 0, width: 0, focused: null };
const canvas = byId("cells"), cursor = byId("cursor");

// Nodes of a pool, the worst first: places of rows, or -1 - outcome for a node without a row.
function nodesByPool() {
  const pools = page.pools.map(() => page.outcomes.map(() => []));
  rows.forEach((row, at) => pools[row[POOL]][row[OUTCOME]].push(at));
  const order = [...page.outcomes.keys()].sort((a, b) => urgency[a] - urgency[b]);
  return pools.map((byOutcome, pool) => order.flatMap((outcome) => {
    const known = byOutcome[outcome].sort((a, b) => byPlace(rows[a], rows[b]));
    const unnamed = page.pools[pool][POOL_COUNTS][outcome] - known.length;
    return unnamed > 0 ? known.concat(Array(unnamed).fill(-1 - outcome)) : known;
  }));
}

const outcomeOf = (node) => (node < 0 ? -1 - node : rows[node][OUTCOME]);
const missingOf = (pool) => pool[POOL_COUNTS].reduce((sum, many, at) => sum + (collected[at] ? 0 : many), 0);

function cellSize(nodes) {
  return nodes <= 300 ? 20 : nodes <= 1200 ? 15 : nodes <= 4000 ? 12 : nodes <= 15000 ? 8 : nodes <= 60000 ? 6 : 4;
}

// The largest cells with which the map is at most so high; the screen has no such bound.
function cellFor(width, highest) {
  const least = 3, usual = Math.min(cellSize(page.nodes), Math.max(4, Math.floor(width / 12)));
  for (let cell = usual; cell > least; cell -= 1) {
    if (layOut(width, cell) <= highest) return cell;
  }
  return highest === Infinity ? usual : least;
}

// Accounts side by side if they fit, each with its pools below its name. An account that could not be listed is an
// empty box with the reason in it. Returns the height.
function layOut(width, cell) {
  map.nodes ??= nodesByPool();
  const blocks = [], names = [], boxes = [];
  let x = 0, y = 0, shelf = 0;
  for (const [account, name] of page.accounts.entries()) {
    const part = layOutAccount(account, width, cell);
    if (part === null) continue;
    if (x > 0 && x + part.wide > width) {
      y += shelf + 2 * GAP;
      x = shelf = 0;
    }
    const moved = (item) => ({ ...item, x: item.x + x, y: item.y + y, ...(item.top === undefined ? {} : { top: item.top + y }) });
    names.push({ x, y, wide: part.wide, name, nodes: part.nodes, pools: part.pools, unlisted: page.unlisted[account] });
    blocks.push(...part.blocks.map(moved));
    boxes.push(...part.boxes.map(moved));
    x += part.wide + 2 * GAP;
    shelf = Math.max(shelf, part.high);
  }
  Object.assign(map, { blocks, names, boxes, cell, width, height: Math.max(1, y + shelf) });
  return map.height;
}

function layOutAccount(account, width, cell) {
  const pools = [...page.pools.keys()].filter((at) => page.pools[at][POOL_ACCOUNT] === account);
  const unlisted = page.unlisted[account];
  if (pools.length === 0 && unlisted === null) return null;
  pools.sort((a, b) => missingOf(page.pools[b]) - missingOf(page.pools[a]) || inOrder(page.pools[a][POOL_ID], page.pools[b][POOL_ID]));
  const blocks = [], boxes = [];
  let x = 0, y = ACCOUNT, shelf = 0, widest = 0;
  const place = (wide, high) => {
    if (x > 0 && x + wide > width) {
      y += shelf + GAP;
      x = shelf = 0;
    }
    const at = { x, y, wide, high };
    x += wide + GAP;
    shelf = Math.max(shelf, high);
    widest = Math.max(widest, at.x + wide);
    return at;
  };
  for (const pool of pools) {
    const nodes = map.nodes[pool], many = nodes.length;
    const least = Math.ceil(Math.min(width, LEAST_POOL) / cell), most = Math.max(1, Math.floor(width / cell));
    const across = Math.min(most, Math.max(least, Math.ceil(Math.sqrt(many * (many > 1000 ? 6 : 3)))));
    const at = place(across * cell, LABEL + Math.ceil(many / across) * cell);
    blocks.push({ ...at, pool, nodes, across, top: at.y + LABEL });
  }
  if (unlisted !== null) boxes.push({ ...place(Math.min(width, BOX_WIDTH), BOX_HEIGHT), why: unlisted[0] });
  return { blocks, boxes, pools: pools.length, nodes: pools.reduce((sum, at) => sum + map.nodes[at].length, 0), wide: Math.max(widest, Math.min(width, LEAST_ACCOUNT)), high: y + shelf };
}

function drawMap(width, highest = Infinity) {
  const box = byId("map"), whole = Math.floor(width);
  layOut(whole, cellFor(whole, highest));
  const scale = Math.min(devicePixelRatio || 1, MOST_CANVAS_PIXELS / map.height, MOST_CANVAS_PIXELS / map.width);
  canvas.width = Math.ceil(map.width * scale);
  canvas.height = Math.ceil(map.height * scale);
  canvas.style.width = `${map.width}px`;
  canvas.style.height = `${map.height}px`;
  const pen = canvas.getContext("2d");
  const shapes = page.outcomes.map((name) => {
    const path = document.querySelector(`#${name} path`);
    return { path: new Path2D(path.getAttribute("d")), colour: getComputedStyle(path).fill };
  });
  for (const block of map.blocks) {
    block.nodes.forEach((node, at) => {
      const { path, colour } = shapes[outcomeOf(node)];
      const size = scale * (map.cell > 6 ? map.cell - 2 : map.cell - 1) / 10;
      pen.setTransform(size, 0, 0, size, scale * (block.x + (at % block.across) * map.cell), scale * (block.top + Math.floor(at / block.across) * map.cell));
      pen.fillStyle = colour;
      pen.fill(path, "evenodd");
    });
  }
  for (const label of box.querySelectorAll(".label, .unlisted-box")) label.remove();
  const place = (label, x, y, wide) => {
    Object.assign(label.style, { left: `${x}px`, top: `${y}px`, width: `${wide}px` });
    box.append(label);
  };
  for (const { x, y, wide, name, nodes, pools, unlisted } of map.names) {
    const many = ` ${counted(pools, "pool")}, ${counted(nodes, "node")}${unlisted ? " and others" : ""}`;
    place(el("div", { class: "label account" }, el("b", null, name), pools === 0 ? " unknown" : many), x, y, wide);
  }
  for (const { x, y, wide, high, why } of map.boxes) {
    const drawn = el("div", { class: "unlisted-box", title: shown(why) }, el("b", null, "? nodes, not listed"), el("span", null, why));
    drawn.style.height = `${high}px`;
    place(drawn, x, y, wide);
  }
  for (const block of map.blocks) {
    const pool = page.pools[block.pool], missing = missingOf(pool);
    const many = missing ? `${number(missing)} of ${number(block.nodes.length)} not collected` : `${counted(block.nodes.length, "node")}, all collected`;
    place(el("div", { class: "label pool", title: shown(pool[POOL_ID]) }, el("b", null, pool[POOL_ID]), el("span", null, many)), block.x, block.y, block.wide);
  }
  moveCursor(map.focused);
}

// The block and the place in it at a point of the canvas.
function cellAt(x, y) {
  const block = map.blocks.find((block) => x >= block.x && x < block.x + block.wide && y >= block.top && y < block.y + block.high);
  if (!block) return null;
  const at = Math.floor((y - block.top) / map.cell) * block.across + Math.floor((x - block.x) / map.cell);
  return at < block.nodes.length ? { block, at } : null;
}

function describe({ block, at }) {
  const node = block.nodes[at], pool = page.pools[block.pool];
  const place = `account ${page.accounts[pool[POOL_ACCOUNT]]}, pool ${pool[POOL_ID]}`;
  const outcome = page.outcomes[outcomeOf(node)];
  return node < 0 ? [`${outcome}, not listed on this page`, place] : [rows[node][NODE], `${outcome}, ${place}`, text(rows[node][REASON])];
}

function choose({ block, at }) {
  const node = block.nodes[at];
  if (node < 0) goTo({ pool: String(block.pool), outcome: String(outcomeOf(node)) });
  else showNode(rows[node]);
}

function moveCursor(to) {
  map.focused = to && map.blocks.includes(to.block) ? to : to && refound(to);
  cursor.hidden = map.focused === null;
  if (map.focused === null) return;
  const { block, at } = map.focused;
  const size = map.cell + 4;
  Object.assign(cursor.style, {
    left: `${block.x + (at % block.across) * map.cell - 3}px`, top: `${block.top + Math.floor(at / block.across) * map.cell - 3}px`,
    width: `${size}px`, height: `${size}px`,
  });
}

// The same cell after a new layout of the map.
function refound({ block, at }) {
  const now = map.blocks.find(({ pool }) => pool === block.pool);
  return now ? { block: now, at } : null;
}

// Where a key leads: along the nodes of a pool, and at its ends to the pool before or after it.
function stepped(key, { block, at }) {
  const last = block.nodes.length - 1, place = map.blocks.indexOf(block);
  const before = map.blocks[place - 1], behind = map.blocks[place + 1];
  const into = (other, at) => (other ? { block: other, at: Math.min(at, other.nodes.length - 1) } : null);
  const to = { ArrowLeft: at - 1, ArrowRight: at + 1, ArrowUp: at - block.across, ArrowDown: at + block.across, Home: 0, End: last }[key];
  if (key === "PageUp") return into(before, 0);
  if (key === "PageDown") return into(behind, 0);
  if (to === undefined) return undefined;
  if (to < 0) return into(before, Infinity);
  if (to > last) return key === "ArrowDown" && Math.floor(at / block.across) < Math.floor(last / block.across) ? { block, at: last } : into(behind, 0);
  return { block, at: to };
}

function onKey(event) {
  if (map.blocks.length === 0) return;
  const from = map.focused ?? { block: map.blocks[0], at: 0 };
  if (event.key === "Enter" || event.key === " ") {
    event.preventDefault();
    choose(from);
    return;
  }
  const to = stepped(event.key, from);
  if (to === undefined) return;
  event.preventDefault();
  focusCell(to ?? from);
}

function focusCell(cell) {
  moveCursor(cell);
  byId("map-focus").textContent = describe(cell).filter(Boolean).map(shown).join(", ");
  cursor.scrollIntoView({ block: "nearest" });
  const { left, bottom } = cursor.getBoundingClientRect();
  showTip(left, bottom - 8, ...describe(cell));
}

function setUpMap() {
  const occurring = page.outcomes.map((_, at) => at).filter((at) => page.pools.some((pool) => pool[POOL_COUNTS][at] > 0));
  byId("legend").append(...occurring.map((at) => el("li", null, outcomeMark(at))));
  byId("pools").closest("details").addEventListener("toggle", fillPools, { once: true });
  const box = byId("map");
  if ((page.nodes === 0 && page.unlisted.every((why) => why === null)) || page.nodes > MOST_CELLS) {
    box.replaceChildren(el("p", null, page.nodes === 0 ? "No node was planned." : `${number(page.nodes)} nodes are too many for a map; the table below lists all pools.`));
    byId("map-help").remove();
    return;
  }
  const pointed = (event) => cellAt(event.offsetX, event.offsetY);
  canvas.addEventListener("pointermove", (event) => {
    const cell = pointed(event);
    canvas.classList.toggle("on-node", cell !== null);
    if (cell) showTip(event.clientX, event.clientY, ...describe(cell));
    else hideTip();
  });
  canvas.addEventListener("pointerleave", hideTip);
  canvas.addEventListener("click", (event) => {
    const cell = pointed(event);
    if (!cell) return;
    moveCursor(cell);
    hideTip();
    choose(cell);
  });
  canvas.addEventListener("keydown", onKey);
  canvas.addEventListener("focus", () => {
    if (map.blocks.length > 0 && canvas.matches(":focus-visible")) focusCell(map.focused ?? { block: map.blocks[0], at: 0 });
  });
  canvas.addEventListener("blur", () => {
    hideTip();
    cursor.hidden = true;
  });
  drawMap(box.clientWidth);
  new ResizeObserver(() => {
    if (box.clientWidth && Math.floor(box.clientWidth) !== map.width && !matchMedia("print").matches) drawMap(box.clientWidth);
  }).observe(box);
  // Paper has its own width.
  const onPaper = (printing) => (printing ? drawMap(PAPER_WIDTH, PAPER_HEIGHT) : drawMap(box.clientWidth));
  addEventListener("beforeprint", () => onPaper(true));
  addEventListener("afterprint", () => onPaper(false));
  matchMedia("print").addEventListener("change", (event) => onPaper(event.matches));
}

// The map as a table: every pool with its counts.
function fillPools() {
  const occurring = page.outcomes.map((_, at) => at).filter((at) => page.pools.some((pool) => pool[POOL_COUNTS][at] > 0));
  const pools = [...page.pools.keys()].sort((a, b) => missingOf(page.pools[b]) - missingOf(page.pools[a]) || inOrder(page.pools[a][POOL_ID], page.pools[b][POOL_ID]));
  byId("pools").replaceChildren(plainTable(
    ["Pool", "Account", "Nodes#", ...occurring.map((at) => `${page.outcomes[at]}#`)],
    pools.map((at) => {
      const [account, id, counts] = page.pools[at];
      return [el("button", { type: "button", class: "link", onclick: () => goTo({ pool: String(at) }) }, id), page.accounts[account],
        number(counts.reduce((sum, many) => sum + many, 0)), ...occurring.map((outcome) => number(counts[outcome]))];
    })));
}
