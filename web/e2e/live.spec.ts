// The page of `sdviz serve`: a run made in the browser, watched, cancelled, compared; nothing said on the console.
import { spawn, type ChildProcess } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import AxeBuilder from "@axe-core/playwright";
import { expect, test as base, type Page } from "@playwright/test";

const PROGRAM = resolve(process.env.SDVIZ ?? "../target/debug/sdviz");

interface Server {
  address: string;
  /** What it said when it began. */
  said: string;
  /** Ends it. */
  end: () => void;
}

interface Fixtures {
  /** A server that ends with the test. */
  serve: (...more: string[]) => Promise<Server>;
  /** The page of one, in a state that is remembered. */
  visit: (address: string, settings?: { language?: "en" | "zh"; theme?: "light" | "dark" }) => Promise<Page>;
}

const test = base.extend<Fixtures>({
  serve: async ({}, use) => {
    const started: ChildProcess[] = [];
    const folder = mkdtempSync(join(tmpdir(), "sdviz-live-"));
    await use((...more) => {
      const server = spawn(PROGRAM, ["serve", "--port", "0", "--runs", folder, ...more], { stdio: ["ignore", "ignore", "pipe"] });
      started.push(server);
      return new Promise((found, failed) => {
        let said = "";
        server.stderr!.on("data", (bytes) => {
          said += String(bytes);
          const address = /(?:the page is at|for the lecturer:) (http:\S+?)(?:;|\n)/.exec(said)?.[1];
          const end = () => void (server.removeAllListeners("exit") && server.kill("SIGKILL"));
          if (address) found({ address, said, end });
        });
        server.on("exit", () => failed(new Error(said)));
      });
    });
    for (const server of started) {
      server.removeAllListeners("exit");
      server.kill("SIGKILL");
    }
    rmSync(folder, { recursive: true, force: true });
  },
  visit: async ({ page }, use) => {
    const said: string[] = [];
    page.on("console", (message) => said.push(`${message.type()}: ${message.text()}`));
    page.on("pageerror", (error) => said.push(String(error)));
    page.on("response", (answer) => answer.status() >= 400 && said.push(`${answer.status()} ${answer.url()}`));
    await use(async (address, { language = "en", theme = "light" } = {}) => {
      await page.addInitScript((settings) => localStorage.setItem("sdviz", JSON.stringify(settings)), { language, theme, size: 0 });
      await page.goto(address);
      await expect(page.locator("#prompt")).toBeVisible();
      return page;
    });
    expect(said).toEqual([]);
  },
});

test.setTimeout(180_000);
const patient = { timeout: 120_000 };

/** Asks for a run by the keyboard alone. */
async function draw(page: Page, prompt: string, steps: number): Promise<void> {
  await page.locator("#prompt").fill(prompt);
  await page.getByLabel("Steps", { exact: true }).fill(String(steps));
  await page.keyboard.press("Control+Enter");
  await expect(page.getByRole("button", { name: "Draw" })).toBeEnabled(patient);
}

const done = (page: Page) => page.locator("ul .open img");

test("a run is watched from its first preview to its picture, without a reload", async ({ serve, visit }) => {
  const { address } = await serve();
  const page = await visit(address);
  await page.evaluate(() => {
    const seen: string[] = [];
    Object.assign(window, { seen });
    new MutationObserver(() => {
      const image = document.querySelector<HTMLImageElement>(".frame img");
      const step = document.querySelector("[role=status]")?.textContent ?? "";
      if (image) seen.push(`${step}|${image.src.slice(0, 10)}|${image.src.split("/").at(-1)}`);
    }).observe(document.body, { subtree: true, childList: true, attributes: true, characterData: true });
  });
  await draw(page, "a red apple on a blue background", 6);
  await expect(page.locator(".frame img")).toHaveAttribute("src", /\/final$/, patient);
  const seen = await page.evaluate(() => (window as unknown as { seen: string[] }).seen);
  const first = seen.findIndex((line) => line.includes("|data:image"));
  const second = seen.findIndex((line) => line.startsWith("step 2"));
  expect(first).toBeGreaterThanOrEqual(0);
  expect(second === -1 || first < second).toBe(true);
  await expect(done(page)).toHaveCount(1);
  await expect(page.locator("#prompt")).toBeFocused();

  // Look inside; its address opens the same place elsewhere.
  await page.getByRole("button", { name: "Look inside", exact: true }).click();
  await expect(page.getByRole("slider", { name: "Step" })).toBeVisible();
  await expect(page).toHaveURL(/run=.*view=player/);
  await page.goto(page.url());
  await page.reload();
  await expect(page.getByRole("slider", { name: "Step" })).toBeVisible();
});

test("noise levels are placed where the scheduler takes it", async ({ serve, visit }) => {
  const { address } = await serve();
  const page = await visit(address);
  await page.getByText("All settings").click();
  const scheduler = page.getByRole("combobox", { name: /^Scheduler/ });
  const sigmas = page.getByRole("combobox", { name: /^Noise levels/ });
  await expect(scheduler).toBeVisible();
  await expect(sigmas).toHaveCount(0);
  // Nor is eta, once it was written.
  await scheduler.selectOption("ddim");
  await page.getByLabel(/^Eta/).fill("0.5");
  await scheduler.selectOption("euler");
  await expect(page.getByLabel(/^Eta/)).toHaveCount(0);
  await expect(sigmas.locator("option")).toHaveText(["the scheduler's own", "karras", "exponential", "beta", "sgm_uniform", "simple", "normal"]);
  await sigmas.selectOption("karras");
  await scheduler.selectOption("ddim");
  await expect(sigmas).toHaveCount(0);
  await scheduler.selectOption("heun");
  await expect(sigmas).toHaveValue("");
  await sigmas.selectOption("beta");
  await draw(page, "a red apple on a blue background", 2);
  await expect(done(page)).toHaveCount(1, patient);
  const made = await page.evaluate(async () => (await (await fetch("/api/runs")).json()).runs[0]);
  expect([made.scheduler, made.sigmas]).toEqual(["heun", "beta"]);
  await scheduler.selectOption("");
  await page.getByRole("button", { name: "The same settings" }).first().click();
  await expect(sigmas).toHaveValue("beta");
});

test("word maps are kept when they are asked for, and shown", async ({ serve, visit }) => {
  const { address } = await serve();
  const page = await visit(address);
  await page.getByLabel("Word maps").check();
  await draw(page, "a red apple on a blue background", 2);
  await expect(done(page)).toHaveCount(1, patient);
  await page.getByRole("button", { name: "Look inside", exact: true }).click();
  await expect(page.getByRole("slider", { name: "Step" })).toBeVisible();
  await page.keyboard.press("a");
  await expect(page.locator("[data-guide=maps] figure")).toHaveCount(3);
  await expect(page.locator("[data-guide=maps] figcaption").first()).toContainText("mean");
  await page.getByLabel("Heads").selectOption({ index: 1 });
  await expect(page.locator("main")).toContainText("does not change with the slider");
});

test("a run is cancelled, the next one made, and two compared", async ({ serve, visit }) => {
  const { address } = await serve();
  const page = await visit(address);
  await draw(page, "a fish", 150);
  await draw(page, "a star on a purple background", 3);
  await draw(page, "a star on a green background", 3);
  await expect(page.locator("ol li")).toHaveCount(2, patient);
  await page.locator(".tools").getByRole("button", { name: "Cancel" }).click();
  await expect(page.locator(".ended span")).toHaveText("cancelled", patient);
  await expect(done(page)).toHaveCount(2, patient);
  const whole = page.locator("ul li").filter({ has: page.locator(".open img") });
  for (const box of await whole.locator(".tools input").all()) await box.check();
  await page.locator(".head").getByRole("button", { name: "Compare" }).click();
  await expect(page.locator("[data-guide=runs] figure")).toHaveCount(3);
});

test("a run that was cancelled is looked into as far as it came", async ({ serve, visit }) => {
  const { address } = await serve();
  const page = await visit(address);
  await draw(page, "a fish", 150);
  await expect(page.locator("[role=status]").first()).toHaveText(/^step ([3-9]|\d\d)/, patient);
  await page.locator(".tools").getByRole("button", { name: "Cancel" }).click();
  await expect(page.locator(".ended span")).toHaveText("cancelled", patient);
  await page.locator(".ended").getByRole("button", { name: "Look inside: a fish" }).click();
  await expect(page.locator("[data-guide=place]")).toContainText(/step \d+ of 150/);
});

test("a wrong field is shown, and what is taken over is everything", async ({ serve, visit }) => {
  const { address } = await serve();
  const page = await visit(address);
  const folded = page.locator("details");
  await page.locator("#prompt").fill("a red apple");
  await page.getByLabel("Steps", { exact: true }).fill("3");
  await page.locator("summary").click();
  await page.getByLabel("Width").fill("130");
  await page.locator("summary").click();
  await page.getByRole("button", { name: "Draw" }).click();
  await expect(folded).toHaveAttribute("open", "");
  await expect(page.getByLabel("Width")).toBeFocused();
  await page.getByLabel("Width").fill("128");
  await page.getByLabel(/^Guidance rescale/).fill("0.7");
  await page.getByLabel(/^A second pass/).check();
  await page.getByRole("spinbutton", { name: "Pictures" }).fill("2");
  await page.keyboard.press("Control+Enter");
  await expect(done(page)).toHaveCount(1, patient);
  await page.getByLabel(/^A second pass/).uncheck();
  await page.getByLabel(/^Guidance rescale/).fill("");
  await page.getByRole("button", { name: "The same settings" }).first().click();
  await expect(page.getByLabel(/^A second pass/)).toBeChecked();
  await expect(page.getByLabel(/^Guidance rescale/)).toHaveValue("0.7");
  await expect(page.getByRole("spinbutton", { name: "Pictures" })).toHaveValue("2");
  // The second picture of the two, and its address.
  await expect(page.locator("main")).toContainText("picture 1 of a batch of 2");
  await page.getByRole("button", { name: "Look inside", exact: true }).click();
  await page.getByLabel("Picture of the batch").selectOption("1");
  await expect(page.locator("[data-guide=large] img")).toHaveAttribute("src", /batch=1$/);
  await expect(page).toHaveURL(/picture=2/);
  await page.reload();
  await expect(page.locator("[data-guide=large] img")).toHaveAttribute("src", /batch=1$/);
});

test("a link to what is not here says so, and so does a server that is gone", async ({ serve, visit, browser }) => {
  const { address, end } = await serve();
  const maker = await visit(address);
  await draw(maker, "a red apple", 2);
  await expect(done(maker)).toHaveCount(1, patient);
  const context = await browser.newContext();
  const page = await context.newPage();
  const broken: string[] = [];
  page.on("pageerror", (error) => broken.push(String(error)));
  for (const id of ["nosuchrun", "../openapi.json?x="]) {
    await page.goto(`${address}#run=${encodeURIComponent(id)}`);
    await page.reload();
    await expect(page.getByRole("alert")).toContainText(`There is no run “${id}” here.`);
    await page.waitForTimeout(600);
    expect(page.url()).toContain(encodeURIComponent(id));
  }
  await page.getByRole("alert").getByRole("button", { name: "Close" }).click();
  await page.locator("ul .open").click();
  await expect(page.getByRole("slider", { name: "Step" })).toBeVisible();
  await maker.close();
  end();
  await expect(page.getByRole("alert")).toContainText("The server does not answer", patient);
  expect(broken).toEqual([]);
  await context.close();
});

test("a class comes in by the code", async ({ serve, visit, browser }) => {
  const { address, said } = await serve("--listen", "0.0.0.0", "--join-code", "ROOM42");
  const local = address.replace(/\/\/[^:]+:/, "//127.0.0.1:");
  const page = await visit(local);
  expect(said).toContain("ROOM42");
  expect(page.url()).not.toContain("code");
  await page.getByRole("button", { name: "Invite" }).click();
  await expect(page.getByRole("img", { name: /QR code/ })).toBeVisible();
  await page.keyboard.press("Escape");

  const guest = await (await browser.newContext()).newPage();
  await guest.goto(local.split("#")[0]!);
  await guest.getByLabel("Join code").fill("wrong1");
  await guest.keyboard.press("Enter");
  await expect(guest.getByRole("alert")).toContainText("not the code");
  await guest.getByLabel("Join code").fill("room42");
  await guest.keyboard.press("Enter");
  await draw(guest, '<img src=x onerror="window.hacked=1"> a cat', 2);
  // What one makes, all see; and a prompt is text.
  await expect(done(page)).toHaveCount(1, patient);
  await expect(page.locator("ul .prompt")).toContainText("<img src=x");
  expect(await page.evaluate(() => "hacked" in window)).toBe(false);
  await guest.context().close();
});

for (const theme of ["light", "dark"] as const) {
  for (const language of ["en", "zh"] as const) {
    test(`axe finds nothing serious in ${theme}, ${language}; and a phone is wide enough`, async ({ serve, visit }) => {
      const { address } = await serve();
      const page = await visit(address, { theme, language });
      await page.locator("#prompt").fill("a cat");
      await page.locator("input[type=number]").first().fill("2");
      await page.keyboard.press("Control+Enter");
      await expect(done(page)).toHaveCount(1, patient);
      await page.locator("summary").click();
      await page.getByRole("checkbox", { name: /second pass|再画一遍/ }).check();
      const { violations } = await new AxeBuilder({ page }).analyze();
      const serious = violations.filter(({ impact }) => impact === "serious" || impact === "critical");
      expect(serious.flatMap(({ id, nodes }) => nodes.map((node) => `${id}: ${node.html.slice(0, 160)}`))).toEqual([]);
      await page.setViewportSize({ width: 390, height: 844 });
      expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBeLessThanOrEqual(390);
    });
  }
}
