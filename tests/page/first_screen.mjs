// The page answers first: on the first screen of a desk and of a phone. What it shows is in the address, and on paper it
// is a handful of pages.

import assert from "node:assert/strict";
import { assertAccessible, launch, open, rowsOf, textOf } from "./browser.mjs";

const [, , file, expectedText] = process.argv;
const expected = JSON.parse(expectedText);
const browser = await launch();

const boxOf = (page, selector) => page.locator(selector).first().evaluate((element) => {
  const { top, bottom } = element.getBoundingClientRect();
  return { top, bottom };
});
const PARTS = ["h1", "#causes-title", "#counts-title", "#map-title", "#timeline-title", "#nodes", "#skipped", "#run"];

for (const [width, height] of [[1400, 900], [1024, 768], [390, 844]]) {
  const page = await open(browser, file, { viewport: { width, height } });
  const what = `${width}x${height}`;
  const tops = [];
  for (const part of PARTS) tops.push((await boxOf(page, part)).top);
  assert.deepEqual(tops, [...tops].sort((a, b) => a - b), `the order at ${what}`);

  const first = await boxOf(page, ".causes li");
  assert.ok(first.top < height / 2, `${what}: the first cause begins at ${first.top}`);
  assert.ok(first.bottom < height, `${what}: the first cause ends at ${first.bottom}`);
  if (width === 1400) {
    for (const cause of await page.locator("h2 ~ .causes > li").all()) {
      const { bottom } = await cause.evaluate((element) => element.getBoundingClientRect());
      assert.ok(bottom < height, `a cause ends at ${bottom}`);
    }
    for (const part of [".counts", "#trouble-title"]) {
      const { bottom } = await boxOf(page, part);
      assert.ok(bottom < height, `${part} ends at ${bottom}`);
    }
    const map = await boxOf(page, "#map-title");
    assert.ok(map.bottom < height, `the map begins at ${map.top}`);
  }

  const wide = await page.evaluate(() => document.documentElement.scrollWidth);
  assert.ok(wide <= width, `the page is ${wide} px wide in a window of ${width} px`);
  await page.evaluate(() => { for (const details of document.querySelectorAll("details")) details.open = true; });
  const scrolled = await page.evaluate(() => [...document.querySelectorAll("main *")].filter((element) => {
    const { overflowX, overflowY } = getComputedStyle(element);
    const isOn = (overflow) => overflow === "auto" || overflow === "scroll";
    return (isOn(overflowY) && element.scrollHeight > element.clientHeight + 1)
      || (isOn(overflowX) && element.scrollWidth > element.clientWidth + 1);
  }).map((element) => element.outerHTML.slice(0, 100)));
  assert.deepEqual(scrolled, [], `nothing scrolls inside the page at ${what}`);
  await page.context().close();
}
console.log("ok: the order and the first screens");

const stories = {
  async "says what is not known"(page) {
    assert.equal(await textOf(page, "h1"), expected.verdict);
    const account = page.locator(".causes li", { hasText: expected.unlisted });
    assert.equal(await account.locator(".count b").innerText(), "?");
    assert.match(await account.innerText(), new RegExp(expected.why));
    const row = page.locator(".accounts tr", { hasText: expected.unlisted });
    assert.deepEqual((await row.locator("td.n").allInnerTexts()).slice(0, 3), ["?", "0", "?"]);
    const box = page.locator(".unlisted-box");
    assert.match(await box.innerText(), new RegExp(expected.why));
    const [inner, outer] = [await box.boundingBox(), await page.locator("#map").boundingBox()];
    assert.ok(inner.x >= outer.x && inner.y >= outer.y && inner.x + inner.width <= outer.x + outer.width
      && inner.y + inner.height <= outer.y + outer.height, "the box is on the map");
    assert.match(await textOf(page, "#map"), new RegExp(expected.unlisted));
  },

  async "gives each cause its own advice, with a command to copy"(page) {
    const causes = page.locator("[data-cause]");
    assert.equal(await causes.count(), expected.causes);
    for (const cause of await causes.all()) {
      assert.notEqual(await cause.locator(".step").textContent(), "");
      // Nothing can be done about a node that is gone.
      const commands = await cause.locator(".command").allTextContents();
      const isGone = (await cause.locator(".outcome").textContent()) === "gone";
      assert.equal(commands.length, isGone ? 0 : 1);
      for (const command of commands) assert.match(command, /^fleetlogs resume [^ ]+run( --retry [a-z]+)?$/);
    }
    await page.context().grantPermissions(["clipboard-read", "clipboard-write"]);
    const line = causes.first().locator(".command-line");
    await line.getByRole("button").click();
    assert.equal(await page.evaluate(() => navigator.clipboard.readText()), await line.locator(".command").textContent());
    assert.equal(await line.getByRole("button").textContent(), "Copied");
  },

  async "folds the causes with the fewest nodes"(page) {
    const more = page.locator(".more-causes");
    assert.equal(await more.locator("[data-cause]").first().isVisible(), false);
    await more.locator("summary").click();
    assert.equal(await more.locator("[data-cause]").first().isVisible(), true);
  },

  async "has the cause in the address, and Back leads back"(page) {
    const all = await textOf(page, "#found");
    await page.locator("[data-cause='0']").getByRole("button", { name: "Show these" }).click();
    assert.match(page.url(), /#cause=1$/);
    assert.equal(await textOf(page, "#found"), `${expected.first_cause} of ${all}`);
    await page.goBack();
    assert.doesNotMatch(page.url(), /#/);
    assert.equal(await textOf(page, "#found"), all);
  },

  async "has filters and node in the address, and Back closes the details"(page) {
    await page.fill("#search", "3 of 4");
    await page.selectOption("#by-outcome", { label: "incomplete" });
    const found = await textOf(page, "#found");
    const button = page.locator("#body button.link").first();
    const name = await button.getAttribute("title");
    await button.click();
    await page.locator("#details").waitFor();
    assert.ok(page.url().endsWith(`/${name}`), page.url());
    assert.match(page.url(), /#outcome=incomplete&q=3%20of%204&node=contoso\//);
    const link = page.url();

    const other = await page.context().newPage();
    await other.goto(link);
    await other.locator("#details").waitFor();
    assert.equal(await textOf(other, "#details-title"), name, "the link leads to the details");
    assert.equal(await textOf(other, "#found"), found);
    assert.equal(await other.locator("#search").inputValue(), "3 of 4");
    await other.reload();
    await other.locator("#details").waitFor();
    await other.keyboard.press("Escape");
    await other.waitForURL((url) => !url.href.includes("node="));
    assert.equal(await textOf(other, "#found"), found, "the filter stays");
    await other.close();

    await page.goBack();
    await page.locator("#details").waitFor({ state: "hidden" });
    assert.doesNotMatch(page.url(), /node=/);
    assert.equal(await textOf(page, "#found"), found);
    await page.goForward();
    await page.locator("#details").waitFor();
    await page.keyboard.press("Escape");
    await page.locator("#details").waitFor({ state: "hidden" });
    await page.waitForURL((url) => !url.href.includes("node="));
    await page.click("#clear");
    assert.doesNotMatch(page.url(), /#/);
  },

  async "ignores what the run does not have"(page) {
    const all = await textOf(page, "#found");
    await page.evaluate(() => { location.hash = "#cause=99&pool=contoso/none&outcome=lost&trouble=x&node=a/b/c&q=%"; });
    await page.waitForFunction(() => document.getElementById("search").value === "%");
    assert.match(await textOf(page, "#found"), new RegExp(`^0 of ${all}`));
    await page.click("#clear");
    assert.equal(await textOf(page, "#found"), all);
  },

  async "has a card and a filter for what the service reports"(page) {
    assert.match(await textOf(page, "#trouble-title"), new RegExp(`${expected.trouble} nodes`));
    await page.locator(".kinds button", { hasText: "unusable" }).click();
    assert.match(page.url(), /#trouble=unusable$/);
    assert.match(await textOf(page, "#found"), new RegExp(`^${expected.unusable} of `));
    await page.selectOption("#by-trouble", { label: "any trouble" });
    assert.match(await textOf(page, "#found"), new RegExp(`^${expected.trouble} of `));
    await page.click("#clear");
  },

  async "has one line for each node, and the whole reason in its title"(page) {
    const heights = await page.locator("#body tr").evaluateAll((all) => all.map((row) => row.getBoundingClientRect().height));
    assert.ok(Math.max(...heights) < 36, `rows are ${Math.max(...heights)} px high`);
    await page.fill("#search", "busy");
    const reason = page.locator("#body td.reason .clipped").first();
    assert.equal(await reason.getAttribute("title"), await reason.textContent());
    await page.click("#clear");
  },

  async "is a handful of pages on paper"(page) {
    const pdf = (await page.pdf({ format: "A4" })).toString("latin1");
    const pages = pdf.match(/\/Type\s*\/Page\b(?!s)/g).length;
    console.log(`${pages} pages for ${expected.missing} nodes`);
    assert.ok(pages <= 8, `${pages} pages`);
    await page.emulateMedia({ media: "print" });
    assert.equal(await page.locator("#print-nodes .ids li").count(), expected.missing);
    const cut = await page.locator("#print-nodes .ids li").evaluateAll((all) => all.filter((id) => id.scrollWidth > id.clientWidth + 1).length);
    assert.equal(cut, 0, "ids are shortened in the middle, not cut at the end");
    await page.emulateMedia({ media: null });
  },
};

const page = await open(browser, file, { viewport: { width: 1400, height: 900 } });
for (const [story, check] of Object.entries(stories)) {
  await check(page).catch((error) => {
    throw new Error(`the page ${story}: ${error.message}`, { cause: error });
  });
  console.log(`ok: ${story}`);
}
await assertAccessible(page, "the page with an account that is not listed");
assert.deepEqual(page.wrongs, []);

// A browser that does not give pages from files access to the clipboard.
const without = await open(browser, file);
await without.evaluate(() => Object.defineProperty(navigator, "clipboard", { value: undefined }));
const line = without.locator("[data-cause='0'] .command-line");
await line.getByRole("button").click();
await without.focus("#search");
await without.keyboard.press("Control+V");
assert.equal(await without.locator("#search").inputValue(), await line.locator(".command").textContent());
assert.ok(await rowsOf(without) === 0);
await browser.close();
