// The timeline: calls, throttled answers and arrivals, each in a lane, with a common time axis.

const LANES = [
  { key: "calls", name: "Upload calls", what: "call" },
  { key: "throttled", name: "Throttled (429, 503)", what: "throttled answer" },
  { key: "verified", name: "Nodes verified", what: "node verified" },
];
const LANE = 72, LANE_HEAD = 28, AXIS = 26, WIDEST_BAR = 60;

const steps = () => page.timeline.calls.length;
const stepText = (at) => `${timeOfDay(at * page.timeline.step)} UTC, ${duration(page.timeline.step)}`;
const sumOf = (values) => values.reduce((sum, value) => sum + value, 0);
const saying = (many, what) => (what === "node verified" ? `${number(many)} ${many === 1 ? "node" : "nodes"} verified` : counted(many, what));

function drawTimeline(width) {
  const height = LANES.length * LANE + AXIS;
  const said = LANES.map(({ key, what }) => saying(sumOf(page.timeline[key]), what)).join(", ");
  const drawing = svg("svg", { class: "timeline", width, height, viewBox: `0 0 ${width} ${height}`, role: "img",
    "aria-label": `Timeline of the run: ${said}. The table below has the numbers.` });
  const wide = width / steps();
  LANES.forEach(({ key, name }, lane) => {
    const values = page.timeline[key], most = Math.max(...values), base = (lane + 1) * LANE;
    const head = svg("text", { x: 0, y: base - LANE + 22, class: "lane" });
    head.append(name);
    const peak = svg("text", { x: width, y: base - LANE + 22, class: "peak" });
    const all = `${number(sumOf(values))}${width < 600 ? "" : " in all"}`;
    peak.append(most === 0 ? "none" : `${all}, at most ${number(most)} in ${duration(page.timeline.step)}`);
    drawing.append(head, peak, svg("line", { x1: 0, x2: width, y1: base + 0.5, y2: base + 0.5, class: "ground" }));
    values.forEach((value, at) => {
      if (value === 0) return;
      const high = Math.max(2, (value / most) * (LANE - LANE_HEAD - 4));
      const bar = Math.min(WIDEST_BAR, Math.max(1, wide - (wide > 3 ? 1 : 0)));
      drawing.append(svg("rect", { x: at * wide + Math.max(0, wide - bar) / 2, y: base - high, width: bar, height: high, class: `lane-${key}` }));
    });
  });
  const marks = Math.max(2, Math.min(7, Math.floor(width / 130), steps() + 1));
  for (let mark = 0; mark < marks; mark += 1) {
    const at = (mark * steps()) / (marks - 1);
    const label = svg("text", { x: (mark * width) / (marks - 1), y: height - 6, class: "tick",
      "text-anchor": mark === 0 ? "start" : mark === marks - 1 ? "end" : "middle" });
    label.append(timeOfDay(at * page.timeline.step) + (mark === marks - 1 ? " UTC" : ""));
    drawing.append(label);
  }
  const marker = svg("rect", { y: 0, width: Math.max(1, wide), height: LANES.length * LANE, class: "marker", visibility: "hidden" });
  drawing.prepend(marker);
  drawing.addEventListener("pointermove", (event) => {
    const at = Math.max(0, Math.min(steps() - 1, Math.floor(((event.clientX - drawing.getBoundingClientRect().left) / width) * steps())));
    marker.setAttribute("x", at * wide);
    marker.setAttribute("visibility", "visible");
    showTip(event.clientX, event.clientY, stepText(at), ...LANES.map(({ key, what }) => saying(page.timeline[key][at], what)));
  });
  drawing.addEventListener("pointerleave", () => {
    marker.setAttribute("visibility", "hidden");
    hideTip();
  });
  byId("timeline").replaceChildren(drawing);
}

function setUpTimeline() {
  const box = byId("timeline");
  let width = Math.floor(box.clientWidth);
  drawTimeline(width);
  new ResizeObserver(() => {
    if (box.clientWidth && Math.floor(box.clientWidth) !== width && !matchMedia("print").matches) {
      width = Math.floor(box.clientWidth);
      drawTimeline(width);
    }
  }).observe(box);
  byId("timeline-table").closest("details").addEventListener("toggle", fillTimeline, { once: true });
}

// The timeline as a table of the steps in which something happened.
function fillTimeline() {
  const lines = [...page.timeline.calls.keys()].filter((at) => LANES.some(({ key }) => page.timeline[key][at] > 0))
    .map((at) => [moment(at * page.timeline.step), ...LANES.map(({ key }) => number(page.timeline[key][at]))]);
  byId("timeline-table").replaceChildren(
    el("p", { class: "note" }, `Each row covers ${duration(page.timeline.step)} from its time on; steps in which nothing happened are omitted. A throttled answer counts at the time its call was sent.`),
    plainTable(["UTC", ...LANES.map(({ name }) => `${name}#`)], lines));
}
