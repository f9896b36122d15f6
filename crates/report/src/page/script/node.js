// The details of one node, in a dialog.

const dialog = byId("details");

// Opens the details of a node; the address has the node, so that Back closes them and a link leads to them.
function showNode(row) {
  table.node = rows.indexOf(row);
  fillDetails(row);
  writeAddress({ push: true, drawer: true });
}

function fillDetails(row) {
  byId("details-title").replaceChildren(el("span", { class: "mono" }, row[NODE]));
  byId("details-body").replaceChildren(
    el("p", { class: "details-place" }, outcomeMark(row[OUTCOME]), ` account ${accountOf(row)}, pool ${poolOf(row)[POOL_ID]}`),
    ...part("Reason", text(row[REASON]) && el("p", { class: "why" }, text(row[REASON]))),
    ...part("Files", filesOf(row)),
    ...part(counted(row[ATTEMPTS].length, "upload call"), attemptsOf(row)),
    ...part("As the service described it before the run", evidenceOf(row)),
    ...part("After the last call", laterOf(row[MORE])),
  );
  if (!dialog.open) dialog.showModal();
  byId("details-body").scrollTop = 0;
}

byId("details-close").addEventListener("click", () => dialog.close());
// A click outside closes it.
dialog.addEventListener("click", (event) => {
  if (event.target === dialog) dialog.close();
});
// However it was closed, the node leaves the address.
dialog.addEventListener("close", () => {
  if (table.node !== null) leaveNode();
});

function part(title, content) {
  return content ? [el("h3", null, title), content] : [];
}

// Terms and values; those without a value are left out.
function terms(pairs) {
  const known = pairs.filter(([, value]) => value !== null && value !== undefined && value !== "");
  if (known.length === 0) return null;
  return el("dl", { class: "terms" },
    ...known.map(([term, value]) => el("div", null, el("dt", null, term), el("dd", null, value))));
}

const utc = (after) => (after === null || after === undefined ? null : `${moment(after)} UTC`);
const mono = (value) => (value ? el("span", { class: "mono" }, value) : null);

function filesOf(row) {
  const more = row[MORE] ?? {};
  const url = directoryUrl(row), command = downloadCommand(row);
  const directory = row[DIRECTORY] === null ? null : el("div", { class: "copied" }, el("code", null, row[DIRECTORY]),
    copyButton(row[DIRECTORY], "the directory"),
    url && el("a", { href: url, target: "_blank", rel: "noopener noreferrer" }, "Open in the container"));
  const download = command && el("div", { class: "copied" }, el("code", null, command), copyButton(command, "the command"));
  const duplicates = more.duplicates?.length
    ? el("div", null, ...more.duplicates.map((name) => el("div", { class: "copied" }, el("code", null, name)))) : null;
  return terms([
    ["Directory", directory],
    ["Download", download],
    ["Files arrived", row[ARRIVED] === null ? "not checked"
      : `${number(row[ARRIVED])} of ${row[PROMISED] === null ? "an unknown number" : number(row[PROMISED])}`],
    ["Size", row[BYTES] === null ? null : size(row[BYTES])],
    ["Verified", utc(row[VERIFIED])],
    ["Other directories", duplicates],
    ["Possibly one more", more.may_have_duplicates ? "a call in doubt was repeated, and the container was not searched for its directory" : null],
    ["Own time window", more.window ? `${plainTime(more.window.start)} to ${plainTime(more.window.end)} UTC` : null],
  ]);
}

const plainTime = (time) => time.slice(0, 19).replace("T", " ");

function attemptsOf(row) {
  const [ATTEMPT, SENT, CLIENT_ID, REQUEST_ID, STATUS, CODE, MESSAGE] = [0, 1, 2, 3, 4, 5, 6];
  if (row[ATTEMPTS].length === 0) return el("p", null, "No call was sent.");
  return el("ol", { class: "attempts" }, ...row[ATTEMPTS].map((attempt) => el("li", null,
    el("p", null, el("b", null, `${attempt[ATTEMPT]}. ${attempt[STATUS] ?? "no answer"} ${text(attempt[CODE]) ?? ""}`),
      ` sent ${moment(attempt[SENT])} UTC`),
    attempt[MESSAGE] === null ? null : el("p", { class: "why" }, text(attempt[MESSAGE])),
    terms([
      ["request-id", attempt[REQUEST_ID] && el("span", { class: "copied" }, mono(attempt[REQUEST_ID]), copyButton(attempt[REQUEST_ID], "the request id"))],
      ["client-request-id", el("span", { class: "copied" }, mono(attempt[CLIENT_ID]), copyButton(attempt[CLIENT_ID], "the client request id"))],
    ]))));
}

function evidenceOf(row) {
  const [state, allocated, booted] = row[SINCE];
  const told = page.evidence[row[EVIDENCE]];
  return described({
    ...told, state_since: utc(state), allocation_time: utc(allocated), last_boot_time: utc(booted),
    tasks: (row[MORE]?.tasks ?? []).map(([job, task, start, end, code]) =>
      taskLine(text(job), task, utc(start), utc(end), code)),
  });
}

function taskLine(job, task, start, end, code) {
  const when = start ? ` started ${start}${end ? `, ended ${end}` : ""}` : "";
  return `${job}/${task}${when}${code === null || code === undefined ? "" : `, exit code ${code}`}`;
}

// Evidence, from before the run or after it.
function described(told) {
  const yes = (value, then, otherwise) => (value === undefined || value === null ? null : value ? then : otherwise);
  const start = told.start_task;
  const lines = (values) => (values?.length ? el("ul", { class: "lines" }, ...values.map((line) => el("li", null, line))) : null);
  return terms([
    ["State", told.state && `${told.state}${told.state_since ? ` since ${told.state_since}` : ""}`],
    ["Errors", lines(told.errors?.map((error) => `${error.code}: ${error.message}`))],
    ["Start task", start && [start.state, start.result, start.exit_code === null || start.exit_code === undefined ? null : `exit code ${start.exit_code}`].filter(Boolean).join(", ")],
    ["Recent tasks", lines(told.tasks)],
    ["Kind", yes(told.dedicated, "dedicated", "Spot")],
    ["Scheduling", yes(told.scheduling_enabled, "enabled", "disabled")],
    ["Called early or late", told.priority && told.priority !== "ordinary" ? told.priority : null],
    ["Allocated", told.allocation_time],
    ["Last boot", told.last_boot_time],
    ["Node agent SKU", told.os],
    ["Agent version", told.agent_version],
    ["Image", told.image],
  ]);
}

function laterOf(more) {
  if (!more || (!more.identity_changed && !more.seen_again)) return null;
  const again = more.seen_again ?? {};
  const now = more.identity_now ?? null;
  const change = !more.identity_changed ? null
    : now === null ? "gone from its pool" : "no longer the planned node: rebooted, re-imaged or replaced";
  const times = (told) => ({ ...told, ...Object.fromEntries(["state_since", "allocation_time", "last_boot_time"]
    .filter((name) => told[name]).map((name) => [name, `${plainTime(told[name])} UTC`])) });
  const tasks = (again.recent_tasks ?? []).map((task) => taskLine(task.job, task.task,
    task.started && `${plainTime(task.started)} UTC`, task.ended && `${plainTime(task.ended)} UTC`, task.exit_code));
  const told = described({ ...times({ ...now, ...again }), tasks });
  return el("div", null, change && el("p", null, change), told ?? (change ? null : el("p", null, "The service no longer reported the node.")));
}
