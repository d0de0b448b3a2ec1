// The same report in Firefox and in WebKitGTK, which is the nearest thing to Safari on Linux: node other_browsers.mjs FILE.
// It opens at a half-made picture, is scrubbed, the channel lab's canvas has many colours, Chinese is chosen; no error is
// thrown. Needs firefox-esr and webkit2gtk-driver (Debian), and xvfb for the latter.
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { pathToFileURL } from "node:url";
import puppeteer from "puppeteer-core";

const PORT = 4456;
// Debian 12 has 4.0 or 4.1 of it, or both.
const MINI_BROWSER = ["4.1", "4.0"].map((v) => `/usr/lib/x86_64-linux-gnu/webkit2gtk-${v}/MiniBrowser`).find(existsSync);
const address = pathToFileURL(resolve(process.argv[2])).href;

/** Runs in the page: gives what was found, or throws. */
async function look() {
  const wait = (ms) => new Promise((done) => setTimeout(done, ms));
  const until = async (what, test) => {
    for (let i = 0; i < 100; i++) {
      if (test()) return;
      await wait(50);
    }
    throw new Error(`not in five seconds: ${what}`);
  };
  const { player, session } = window.__sdviz;
  await until("a picture", () => document.querySelector("[data-guide=large] img, [data-guide=large] canvas"));
  const began = player.step;
  player.seek(player.last);
  await until("the last step", () => document.querySelector("[data-guide=place]").textContent.includes(String(player.last)));
  session.go("channels");
  await until("the lab", () => document.querySelector("[data-guide=mixed] canvas"));
  await wait(200);
  const pixels = await window.__sdviz.paint(player.last, [0, 1, 2]);
  const colours = new Set();
  for (let i = 0; i < pixels.length; i += 4) colours.add(pixels.slice(i, i + 3).join());
  if (colours.size < 20) throw new Error(`${colours.size} colours`);
  document.querySelector(".tools button").click();
  await until("another language", () => ["zh-Hans", "en"].includes(document.documentElement.lang));
  return { agent: navigator.userAgent, began, last: player.last, colours: colours.size, language: document.documentElement.lang };
}

async function firefox() {
  const browser = await puppeteer.launch({ browser: "firefox", executablePath: "/usr/bin/firefox-esr", headless: true });
  try {
    const page = await browser.newPage();
    const errors = [];
    page.on("pageerror", (error) => errors.push(String(error)));
    await page.goto(address);
    const found = await page.evaluate(look);
    if (errors.length) throw new Error(errors.join("\n"));
    return found;
  } finally {
    await browser.close();
  }
}

async function webkit() {
  const driver = spawn("xvfb-run", ["-a", "WebKitWebDriver", `--port=${PORT}`], { stdio: "ignore", detached: true });
  const ask = async (method, path, body) => {
    const answer = await fetch(`http://127.0.0.1:${PORT}${path}`, { method, body: body && JSON.stringify(body) });
    const { value } = await answer.json();
    if (value?.error) throw new Error(`${value.error}: ${value.message}`);
    return value;
  };
  try {
    let session;
    for (let tries = 0; !session; tries++) {
      await sleep(500);
      const capabilities = { alwaysMatch: { "webkitgtk:browserOptions": { binary: MINI_BROWSER, args: ["--automation"] } } };
      session = await ask("POST", "/session", { capabilities }).catch((error) => {
        if (tries > 20) throw error;
      });
    }
    const at = `/session/${session.sessionId}`;
    await ask("POST", `${at}/url`, { url: address });
    const script = `const done = arguments[0]; (${look})().then(done, (error) => done({ error: String(error) }));`;
    await ask("POST", `${at}/timeouts`, { script: 60_000 });
    const found = await ask("POST", `${at}/execute/async`, { script, args: [] });
    await ask("DELETE", at);
    return found;
  } finally {
    process.kill(-driver.pid);
  }
}

let failed = 0;
for (const browser of [firefox, webkit]) {
  try {
    console.log(browser.name, JSON.stringify(await browser()));
  } catch (error) {
    failed = 1;
    console.error(browser.name, error);
  }
}
process.exit(failed);
