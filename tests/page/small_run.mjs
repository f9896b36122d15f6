// What a person does with the page of a small run that partly failed. Called with the page and what it has to say.

import assert from "node:assert/strict";
import { assertAccessible, launch, open, rowsOf, textOf } from "./browser.mjs";

const [, , file, expectedText] = process.argv;
const expected = JSON.parse(expectedText);
const browser = await launch();

const stories = {
  async "says the verdict first, then causes with what to do, and counts"(page) {
    assert.equal(await textOf(page, "h1"), expected.verdict);
    assert.equal(await textOf(page, ".badge"), expected.badge);
    const { planned, ...outcomes } = expected.counts;
    assert.equal(await page.locator(".counts .sum td").first().innerText(), String(planned));
    for (const [outcome, nodes] of Object.entries(outcomes)) {
      const line = page.locator(`tr[data-outcome="${outcome}"]`);
      if (nodes > 0) assert.equal(await line.locator("td").first().innerText(), String(nodes), outcome);
    }
    const blocked = page.locator(".causes li", { hasText: "storage blocked" });
    assert.match(await blocked.locator(".step").innerText(), /reach the storage account \(firewall, private endpoint/);
    assert.match(await blocked.locator(".command").innerText(), /^fleetlogs resume .*--retry incomplete/);
  },

  async "finds a node by its name, its reason and a request id"(page) {
    for (const words of [expected.node, expected.request_id]) {
      await page.fill("#search", words);
      assert.equal(await rowsOf(page), 1, words);
      assert.equal(await page.locator("#body button.link").getAttribute("title"), expected.node);
    }
    await page.fill("#search", "no such thing anywhere");
    assert.match(await textOf(page, "#body"), /No node matches/);
    await page.click("#clear");
    assert.match(await textOf(page, "#found"), new RegExp(`^${expected.counts.planned} nodes$`));
  },

  async "filters by outcome, account and pool"(page) {
    await page.selectOption("#by-outcome", { label: "incomplete" });
    assert.match(await textOf(page, "#found"), new RegExp(`^${expected.counts.incomplete} of `));
    assert.ok((await page.locator("#body td:first-child").allInnerTexts()).every((word) => word === "incomplete"));
    await page.selectOption("#by-outcome", { label: "not collected" });
    assert.match(await textOf(page, "#found"), new RegExp(`^${expected.missing} of `));
    await page.click("#clear");
    await page.selectOption("#by-account", { label: "fabrikam" });
    await page.selectOption("#by-pool", { label: "blocked" });
    assert.equal(await rowsOf(page), expected.blocked);
    await page.click("#clear");
  },

  async "sorts by a column, and the other way around"(page) {
    const names = () => page.locator("#body button.link").evaluateAll((all) => all.map((one) => one.title));
    const button = page.locator("#columns button", { hasText: "Node" });
    await button.click();
    assert.equal(await page.locator("#columns th.node").getAttribute("aria-sort"), "ascending");
    const up = await names();
    assert.deepEqual(up, [...up].sort(), "hexadecimal ids are sorted character by character");
    await button.press("Enter");
    assert.equal(await page.locator("#columns th.node").getAttribute("aria-sort"), "descending");
    assert.notDeepEqual(await names(), up);
    assert.equal(await page.locator("#columns [aria-sort]").count(), 1);
    await page.locator("#columns button").first().click();
  },

  async "shows the nodes of a cause"(page) {
    await page.locator("[data-cause]", { hasText: "storage blocked" }).getByRole("button", { name: "Show these" }).click();
    assert.equal(await rowsOf(page), expected.blocked);
    assert.match(await textOf(page, "#chip"), /storage blocked/);
    await page.locator("#chip button").click();
    assert.ok(await page.locator("#chip").isHidden());
  },

  async "leads from the map to a node with the keyboard alone"(page) {
    await page.locator("#map-title").scrollIntoViewIfNeeded();
    await page.locator("#cells").focus();
    await page.keyboard.press("ArrowRight");
    await page.keyboard.press("End");
    const said = await page.locator("#map-focus").textContent();
    await page.keyboard.press("Enter");
    assert.ok(await page.locator("#details").isVisible());
    const title = await textOf(page, "#details-title");
    assert.ok(said.startsWith(title), `${said} and ${title}`);
    assert.match(await textOf(page, "#details"), /client-request-id|No call was sent/);
    await assertAccessible(page, "the details");
    await page.keyboard.press("Escape");
    await page.locator("#details").waitFor({ state: "hidden" });
    assert.equal(await page.evaluate(() => document.activeElement.id), "cells", "the focus is back on the map");
  },

  async "tells which node the pointer is on, and finds it"(page) {
    const { x, y } = await page.locator("#cells").evaluate((canvas) => {
      canvas.scrollIntoView();
      const label = document.querySelector(".label.pool").getBoundingClientRect();
      return { x: label.left + 5, y: label.bottom + 10 };
    });
    await page.mouse.move(x, y);
    await page.locator("#tip", { hasText: /account .*, pool / }).waitFor({ state: "visible" });
    await page.mouse.click(x, y);
    await page.locator("#details").waitFor({ state: "visible" });
    await page.locator("#details-close").click();
    await page.locator("#details").waitFor({ state: "hidden" });
  },

  async "has map and timeline as tables, too"(page) {
    for (const id of ["#pools", "#timeline-table"]) {
      await page.locator(`details:has(${id}) > summary`).click();
      await page.locator(`${id} tbody tr`).first().waitFor();
    }
    const sums = await page.locator("#timeline-table tbody tr").evaluateAll((lines) =>
      [1, 2, 3].map((at) => lines.reduce((sum, line) => sum + Number(line.children[at].textContent.replace(/,/g, "")), 0)));
    assert.deepEqual(sums, [expected.calls, expected.throttled, expected.counts.verified]);
  },

  async "copies a directory as it is, and links to it without any query"(page) {
    await page.context().grantPermissions(["clipboard-read", "clipboard-write"]);
    await page.fill("#search", expected.node);
    await page.locator("#body .copy").click();
    assert.equal(await page.evaluate(() => navigator.clipboard.readText()), expected.directory);
    const link = new URL(await page.locator("#body .directory a").getAttribute("href"));
    assert.equal(decodeURIComponent(link.href), `${expected.destination}/${expected.directory}`);
    assert.equal(link.search, "");
    await page.click("#clear");
  },

  async "prints all that was not collected, without its controls"(page) {
    assert.equal((await page.pdf({ format: "A4" })).subarray(0, 4).toString(), "%PDF");
    await page.emulateMedia({ media: "print" });
    assert.equal(await page.locator("#print-nodes .ids li").count(), expected.missing);
    assert.ok(await page.locator("#print-nodes").isVisible());
    assert.ok(await page.locator("#filters").isHidden());
    await page.emulateMedia({ media: null });
  },
};

const page = await open(browser, file);
for (const [story, check] of Object.entries(stories)) {
  await check(page).catch((error) => {
    throw new Error(`the page ${story}: ${error.message}`, { cause: error });
  });
  console.log(`ok: ${story}`);
}
assert.deepEqual(page.wrongs, [], "the page did something it must not");

for (const colorScheme of ["light", "dark"]) {
  for (const width of [1280, 360]) {
    const shown = await open(browser, file, { colorScheme, viewport: { width, height: 800 } });
    await assertAccessible(shown, `${colorScheme}, ${width} px`);
    const wide = await shown.evaluate(() => document.documentElement.scrollWidth);
    assert.ok(wide <= width, `the page is ${wide} px wide in a window of ${width} px`);
    await shown.context().close();
  }
}

const plain = await open(browser, file, { javaScriptEnabled: false });
assert.equal(await textOf(plain, "h1"), expected.verdict);
assert.match(await textOf(plain, ".causes"), /storage blocked/);
assert.match(await textOf(plain, ".causes"), /reach the storage account \(firewall, private endpoint/);
assert.match(await textOf(plain, ".causes"), /fleetlogs resume .*--retry incomplete/);
assert.match(await textOf(plain, "body"), /need JavaScript/);

// The policy is in force: neither another script nor a connection.
await page.evaluate(() => {
  const script = document.createElement("script");
  script.textContent = "globalThis.stranger = true";
  document.head.append(script);
});
assert.equal(await page.evaluate(() => globalThis.stranger), undefined, "another script ran");
assert.equal(await page.evaluate(() => fetch("http://127.0.0.1:9/").then(() => "done", () => "refused")), "refused");
assert.ok(page.wrongs.some((wrong) => /Content Security Policy/.test(wrong)), page.wrongs.join("\n"));
await browser.close();
