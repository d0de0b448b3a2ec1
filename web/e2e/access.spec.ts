// axe in every theme, language and view; and what one meets without a mouse.
import AxeBuilder from "@axe-core/playwright";
import type { Page } from "@playwright/test";
import { expect, test } from "./page";

async function findings(page: Page, where: string): Promise<string[]> {
  const { violations } = await new AxeBuilder({ page }).analyze();
  const serious = violations.filter(({ impact }) => impact === "serious" || impact === "critical");
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

test("the scrubber says in words where it stands", async ({ open }) => {
  const page = await open("run");
  const scrubber = page.locator("[data-guide=scrubber]");
  await expect(scrubber).toHaveAttribute("aria-valuetext", /^step 5 of 8, timestep \d+, sigma [\d.]+$/);
  await scrubber.focus();
  await page.keyboard.press("End");
  await expect(scrubber).toHaveAttribute("aria-valuetext", /^step 8 of 8/);
});
