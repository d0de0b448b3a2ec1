// A picture of a report, as the README has them: node e2e/picture.mjs FILE PICTURE ['#view=words&step=15'] [zh] [dark] [1366x800]
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { chromium } from "@playwright/test";

const [file, picture, ...more] = process.argv.slice(2);
const hash = more.find((word) => word.startsWith("#")) ?? "";
const [width, height] = (more.find((word) => /^\d+x\d+$/.test(word)) ?? "1366x800").split("x").map(Number);
const settings = { language: more.includes("zh") ? "zh" : "en", theme: more.includes("dark") ? "dark" : "light", size: 0 };
const executablePath = process.env.CHROMIUM ?? "/usr/bin/chromium";
const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
const page = await browser.newPage({ viewport: { width, height }, reducedMotion: "reduce" });
await page.addInitScript((settings) => localStorage.setItem("sdviz", JSON.stringify(settings)), settings);
await page.goto(pathToFileURL(resolve(file)).href + hash);
await page.waitForFunction(() => performance.getEntriesByName("interactive").length > 0);
// What shows numbers comes when they are unpacked.
await page.waitForTimeout(1500);
await page.screenshot({ path: resolve(picture), fullPage: more.includes("whole") });
await browser.close();
