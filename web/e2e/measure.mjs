// How quickly a report opens and how smoothly it is scrubbed: node e2e/measure.mjs FILE. Times in milliseconds: by the
// clock, and as CPU time of all of the browser's processes, which is what a busy machine does not change. A frame shows
// another step; "again" with everything unpacked.
import { statSync } from "node:fs";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { chromium } from "@playwright/test";

const file = resolve(process.argv[2]);
const address = pathToFileURL(file).href;
const executablePath = process.env.CHROMIUM ?? "/usr/bin/chromium";
const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
const system = await browser.newBrowserCDPSession();
const middle = (list) => [...list].sort((a, b) => a - b)[Math.floor(list.length / 2)];

/** CPU seconds of every process of the browser so far. */
async function spent() {
  const { processInfo } = await system.send("SystemInfo.getProcessInfo");
  return processInfo.reduce((sum, one) => sum + one.cpuTime, 0);
}

async function open(hash) {
  const page = await browser.newPage({ viewport: { width: 1366, height: 768 } });
  await page.goto(address + hash);
  await page.waitForFunction(() => performance.getEntriesByName("interactive").length > 0);
  return page;
}

console.log(`${file}: ${(statSync(file).size / 1e6).toFixed(2)} MB`);
for (const name of ["first opened", "opened again"]) {
  const blank = await browser.newPage();
  await blank.goto("about:blank");
  const before = await spent();
  await blank.goto(address);
  await blank.waitForFunction(() => performance.getEntriesByName("interactive").length > 0);
  const cpu = 1000 * ((await spent()) - before);
  const clock = await blank.evaluate(() => performance.getEntriesByName("interactive")[0].startTime);
  console.log(`${name}: interactive after ${clock.toFixed(0)}, CPU ${cpu.toFixed(0)}`);
  await blank.close();
}
for (const view of ["player", "channels", "guidance", "compare", "sweep"]) {
  const page = await open(`#view=${view}`);
  if ((await page.evaluate(() => window.__sdviz.session.view)) === view) {
    await page.waitForTimeout(2000);
    const told = [];
    for (const name of ["first", "again"]) {
      const before = await spent();
      const gaps = await page.evaluate(scrub);
      const cpu = (1000 * ((await spent()) - before)) / gaps.length;
      told.push(`${name}: median ${middle(gaps).toFixed(1)}, CPU a frame ${cpu.toFixed(1)}`);
    }
    console.log(`${view}: ${told.join("; ")}`);
  }
  await page.close();
}
await browser.close();

/** In the page: shows every step once, a frame each, and gives the gaps between the frames. */
async function scrub() {
  const { player } = window.__sdviz;
  const frame = () => new Promise((done) => requestAnimationFrame(done));
  const gaps = [];
  let before = await frame();
  for (const step of player.steps) {
    player.step = step;
    const now = await frame();
    gaps.push(now - before);
    before = now;
  }
  return gaps;
}
