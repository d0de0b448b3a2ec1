// axe in every theme, language and view; and what one meets without a mouse.
import AxeBuilder from "@axe-core/playwright";
import type { Page } from "@playwright/test";
import { expect, test } from "./page";

/** What axe does not call serious, and is held to all the same. */
const HELD = ["heading-order", "region"];

async function findings(page: Page, where: string): Promise<string[]> {
  const { violations } = await new AxeBuilder({ page }).analyze();
  const serious = violations.filter(({ id, impact }) => impact === "serious" || impact === "critical" || HELD.includes(id));
  return serious.flatMap(({ id, nodes }) => nodes.map((node) => `${where}: ${id}: ${node.html.slice(0, 160)} ${node.any[0]?.message ?? ""}`));
}

const VIEWS = {
  run: ["words"],
  edits: ["edits"],
  two: ["player", "channels", "guidance", "shapes", "compare", "lesson"],
  sweep: ["sweep"],
  bare: ["player", "channels", "guidance", "words"],
} as const;

for (const theme of ["light", "dark"] as const) {
  for (const language of ["en", "zh"] as const) {
    test(`nothing serious in ${theme}, ${language}`, async ({ open }) => {
      const found: string[] = [];
      for (const [name, views] of Object.entries(VIEWS)) {
        for (const view of views) {
          const page = await open(name as keyof typeof VIEWS, { theme, language, hash: `#view=${view}` });
          await page.reload();
          await expect(page.locator("main")).toBeVisible();
          found.push(...(await findings(page, `${name} ${view}`)));
        }
      }
      expect(found).toEqual([]);
    });

    test(`nothing serious in what opens, ${theme}, ${language}`, async ({ open }) => {
      const page = await open("run", { theme, language });
      const found: string[] = [];
      for (const stage of ["prompt", "tokens", "embeddings", "steps", "picture"]) {
        await page.locator(`[data-guide=stage-${stage}]`).click();
        found.push(...(await findings(page, stage)));
      }
      await page.keyboard.press("Escape");
      await page.locator("body").press("?");
      found.push(...(await findings(page, "help")));
      await page.keyboard.press("Escape");
      await page.locator("body").press("l");
      const choices = page.locator("article li button");
      const guess = page.locator("article .buttons .primary");
      await expect(choices.first()).toBeVisible();
      for (let i = 0; i < (await choices.count()) && (await guess.isDisabled()); i++) await choices.nth(i).click();
      await guess.click();
      found.push(...(await findings(page, "revealed")));
      await page.locator("section .tools .primary").click();
      found.push(...(await findings(page, "tour")));
      expect(found).toEqual([]);
    });
  }
}

test("on a phone nothing is wider than the window", async ({ open }) => {
  for (const [name, view] of [["run", "player"], ["run", "channels"], ["run", "guidance"], ["run", "words"], ["edits", "edits"], ["run", "shapes"], ["run", "lesson"]] as const) {
    const page = await open(name, { hash: `#view=${view}` });
    await page.setViewportSize({ width: 390, height: 844 });
    await page.reload();
    await expect(page.locator("main")).toBeVisible();
    expect(await page.evaluate(() => document.documentElement.scrollWidth), view).toBeLessThanOrEqual(390);
  }
});

test("who speaks to the page can say what stands on its buttons", async ({ open }) => {
  const page = await open("run");
  const axe = new AxeBuilder({ page }).include("header").options({ rules: { "label-content-name-mismatch": { enabled: true } } });
  for (let size = 0; size < 3; size++) {
    expect((await axe.analyze()).violations.map(({ id }) => id)).toEqual([]);
    await page.getByRole("button", { name: /^A[+−]/ }).click();
  }
});

test("on a phone with the largest type, header and bar leave most of the window to the view", async ({ open }) => {
  const page = await open("run", { size: 2 });
  await page.setViewportSize({ width: 390, height: 844 });
  await page.reload();
  const height = (what: string) => page.locator(what).first().evaluate((one) => one.getBoundingClientRect().height);
  expect((await height("header")) + (await height(".bar"))).toBeLessThan(0.35 * 844);
  // No name of a button is broken into two lines.
  expect(await page.locator("header .tools button").evaluateAll((all) => Math.max(...all.map((one) => one.getBoundingClientRect().height)))).toBeLessThan(45);
});

test("on a low window the second curve and the lesson's button stand above the bar", async ({ open }) => {
  const page = await open("run");
  await page.setViewportSize({ width: 1280, height: 720 });
  const bottom = (what: string) => page.locator(what).evaluate((one) => one.getBoundingClientRect().bottom);
  expect(await bottom("[data-guide=curves]")).toBeLessThan(await page.locator(".bar").evaluate((one) => one.getBoundingClientRect().top));
  await page.keyboard.press("l");
  await expect(page.locator("article .primary")).toBeVisible();
  expect(await bottom("article .primary")).toBeLessThan(await page.locator(".bar").evaluate((one) => one.getBoundingClientRect().top));
});

test("lesson and tour are gone through by the keyboard alone", async ({ open }) => {
  const page = await open("run", { hash: "#view=lesson&step=4" });
  const choices = page.locator("article li button");
  const guess = page.locator("article .buttons .primary");
  await expect(choices.first()).toBeVisible();
  for (let i = 0; i < (await choices.count()) && (await guess.isDisabled()); i++) await choices.nth(i).press("Space");
  await guess.press("Space");
  await expect(page.getByRole("button", { name: "Show why" })).toBeFocused();
  await page.keyboard.press("Space");
  await expect(page.getByRole("button", { name: "Change it, and guess again" })).toBeFocused();
  await page.keyboard.press("Space");
  await expect(choices.first()).toBeFocused();
  await expect(page.locator("[data-guide=place]")).toContainText("step 4 of");
  const opener = page.locator("[data-guide=tour]");
  await opener.press("Enter");
  const card = page.getByRole("complementary", { name: "Guided tour" });
  await expect(card.getByRole("heading")).toBeFocused();
  await page.keyboard.press("Escape");
  await expect(card).toHaveCount(0);
  await expect(opener).toBeFocused();
});

test("the scrubber says in words where it stands", async ({ open }) => {
  const page = await open("run");
  const scrubber = page.locator("[data-guide=scrubber]");
  await expect(scrubber).toHaveAttribute("aria-valuetext", /^step 5 of 8, timestep \d+, sigma [\d.]+$/);
  await scrubber.focus();
  await page.keyboard.press("End");
  await expect(scrubber).toHaveAttribute("aria-valuetext", /^step 8 of 8/);
});
