// How quickly a report opens and how smoothly it is scrubbed: node e2e/measure.mjs FILE. Times in milliseconds; "frames"
// are the gaps between two animation frames while every frame shows another step.
import { statSync } from "node:fs";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { chromium } from "@playwright/test";

const file = resolve(process.argv[2]);
const executablePath = process.env.CHROMIUM ?? "/usr/bin/chromium";
const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
const middle = (list) => [...list].sort((a, b) => a - b)[Math.floor(list.length / 2)];

const opened = [];
for (let i = 0; i < 5; i++) {
  const page = await browser.newPage({ viewport: { width: 1366, height: 768 } });
  await page.goto(pathToFileURL(file).href);
  await page.waitForFunction(() => performance.getEntriesByName("interactive").length > 0);
  opened.push(await page.evaluate(() => performance.getEntriesByName("interactive")[0].startTime));
  await page.close();
}
console.log(`${file}: ${(statSync(file).size / 1e6).toFixed(2)} MB`);
console.log(`interactive after: median ${middle(opened).toFixed(0)}, all ${opened.map((t) => t.toFixed(0)).join(" ")}`);

for (const view of ["player", "channels", "guidance", "compare", "sweep"]) {
  const page = await browser.newPage({ viewport: { width: 1366, height: 768 } });
  await page.goto(`${pathToFileURL(file).href}#view=${view}`);
  await page.waitForFunction(() => performance.getEntriesByName("interactive").length > 0);
  if ((await page.evaluate(() => window.__sdviz.session.view)) !== view) {
    await page.close();
    continue;
  }
  const times = await page.evaluate(async () => {
    const { player } = window.__sdviz;
    const frame = () => new Promise((done) => requestAnimationFrame(done));
    const sweep = async () => {
      const gaps = [];
      let before = await frame();
      for (let i = 0; i < 3 * player.steps.length; i++) {
        player.step = player.steps[i % player.steps.length];
        const now = await frame();
        gaps.push(now - before);
        before = now;
      }
      return gaps;
    };
    return { first: await sweep(), again: await sweep() };
  });
  const told = Object.entries(times).map(([name, gaps]) => {
    const sorted = [...gaps].sort((a, b) => a - b);
    return `${name} median ${middle(gaps).toFixed(1)}, 95 % ${sorted[Math.floor(0.95 * sorted.length)].toFixed(1)}`;
  });
  console.log(`${view}: frames ${told.join("; ")}`);
  await page.close();
}
await browser.close();
