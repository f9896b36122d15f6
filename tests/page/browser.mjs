// A browser for the tests of report.html: opens the file as a person does, and notes whatever a page must not do.

import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const require = createRequire(new URL("../tools/package.json", import.meta.url));
const { chromium } = require("playwright-core");
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");

const CHROMIUM = process.env.FLEETLOGS_CHROMIUM ?? ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].find(existsSync);

export async function launch() {
  assert.ok(CHROMIUM && existsSync(CHROMIUM), "no Chromium: `bash tests/all.sh` installs it, or set FLEETLOGS_CHROMIUM to the program");
  return chromium.launch({ executablePath: CHROMIUM, args: ["--no-sandbox"] });
}

// Opens the page and waits until all of it is shown. What it did wrong is in `page.wrongs`.
export async function open(browser, file, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
  const url = pathToFileURL(file).href;
  const wrongs = [];
  context.on("request", (request) => {
    if (request.url() !== url && !request.url().startsWith("data:")) wrongs.push(`asked for ${request.url()}`);
  });
  const page = await context.newPage();
  page.setDefaultTimeout(10000);
  page.on("console", (message) => ["error", "warning"].includes(message.type()) && wrongs.push(`console: ${message.text()}`));
  page.on("pageerror", (error) => wrongs.push(`error: ${error.message}`));
  page.on("dialog", (dialog) => {
    wrongs.push(`dialog: ${dialog.message()}`);
    dialog.dismiss();
  });
  page.wrongs = wrongs;
  await page.goto(url);
  if (options.javaScriptEnabled !== false) {
    await page.waitForFunction(() => performance.getEntriesByName("fleetlogs-shown").length > 0);
  }
  return page;
}

// Milliseconds from the start of the navigation until everything was shown.
export const shownAfter = (page) => page.evaluate(() => performance.getEntriesByName("fleetlogs-shown")[0].startTime);

// No serious fault in the eyes of axe-core.
export async function assertAccessible(page, what) {
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ["violations"] }));
  const serious = violations.filter(({ impact }) => impact === "serious" || impact === "critical")
    .map(({ id, help, nodes }) => `${id} (${help}): ${nodes.slice(0, 3).map(({ html, any }) => `${html} ${any.map(({ message }) => message).join()}`).join(" | ")}`);
  assert.deepEqual(serious, [], `accessibility of ${what}`);
}

export const textOf = (page, selector) => page.locator(selector).innerText();
export const rowsOf = (page) => page.locator("#body tr:has(button.link)").count();
