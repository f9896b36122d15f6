// Whatever a name, a reason or an error holds, the page shows it as text.

import assert from "node:assert/strict";
import { assertAccessible, launch, open, textOf } from "./browser.mjs";

const [, , file, expectedText] = process.argv;
const { name, shown } = JSON.parse(expectedText);
const browser = await launch();
const page = await open(browser, file);

const has = async (selector, what = shown) => {
  const text = await page.locator(selector).first().evaluate((element) => element.textContent);
  assert.ok(text.includes(what), `${selector} says ${text}`);
};
// A folded reason has its words with one space between.
await has("[data-cause] .why", shown.split("\\u{2028}")[0]);
await has("[data-cause] .where");
await has(".accounts");
await has("#by-pool");
await has("#map");
await has("#body td.pool");
await has("#body td.reason");
await has(".unlisted .where");
await has(".unlisted-box");
assert.equal(await page.locator("#body button.link").first().getAttribute("title"), `${shown}-7`);
await page.fill("#search", name);
assert.match(await textOf(page, "#found"), /^1 node$/);

await page.locator("#body button.link").first().click();
await has("#details-title");
await has("#details-body .why");
for (const what of ["Directory", "Errors", "Recent tasks", "Image"]) {
  const told = await page.locator("#details-body .terms > div", { hasText: what }).first().evaluate((element) => element.textContent);
  assert.ok(told.includes(shown), `${what}: ${told}`);
}
await page.keyboard.press("Escape");
await page.locator("#left-details summary").click();
await has("#left-list");

await page.locator("#cells").focus();
await page.keyboard.press("ArrowRight");
await has("#map-focus");
await has("#tip");
await page.pdf({ format: "A4" });
await has("#print-nodes");

assert.equal(await page.evaluate(() => globalThis.ran), undefined, "a name was run");
assert.equal(await page.locator("img, iframe, b[onclick]").count(), 0, "a name became an element");
assert.equal(await page.locator("a[href^='javascript:']").count(), 0);
await assertAccessible(page, "hostile names");
assert.deepEqual(page.wrongs, []);
await browser.close();
