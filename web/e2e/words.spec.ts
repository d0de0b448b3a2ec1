// Where the words are looked at from, and runs that were changed on their way.
import { expect, exported, test, type Door } from "./page";

const maps = (page: import("@playwright/test").Page) => page.locator("[data-guide=maps] figure");

test("a word's map is what the program draws from, within one level", async ({ open }) => {
  const page = await open("run", { hash: "#view=words&step=5" });
  for (const [folder, look] of [
    ["words", { factor: null, hard: false, head: null }],
    ["words-f2", { factor: 2, hard: true, head: null }],
  ] as const) {
    const mine = await page.evaluate((look) => (window as unknown as { __sdviz: Door }).__sdviz.words(5, "apple", look), look);
    const theirs = exported(`${folder}/attention-apple${folder === "words" ? "" : "-f2"}.apng`).filter((_, i) => i % 4 === 0);
    expect(mine.length).toBe(theirs.length);
    expect(new Set(mine).size).toBeGreaterThan(8);
    expect(Math.max(...mine.map((level, i) => Math.abs(level - theirs[i]!)))).toBeLessThanOrEqual(1);
  }
});

test("words are chosen, and their maps follow the scrubber", async ({ open }) => {
  const page = await open("run", { hash: "#view=words&step=5" });
  await expect(maps(page)).toHaveCount(3);
  await page.getByRole("button", { name: "padding", exact: true }).click();
  await expect(maps(page)).toHaveCount(4);
  const caption = maps(page).last().locator("figcaption");
  await expect(caption).toContainText(/padding mean \d/);
  const before = await caption.innerText();
  await page.locator("[data-guide=scrubber]").fill("1");
  await expect(caption).not.toHaveText(before);
  await page.keyboard.press("Home");
  await expect(page.locator("main")).toContainText("Before the first step");
});

test("a map is read by pointing at it and by the arrow keys, which the scrubber leaves alone", async ({ open }) => {
  const page = await open("run", { hash: "#view=words&step=5" });
  await page.locator("[data-guide=maps] button").first().focus();
  await page.keyboard.press("ArrowRight");
  await expect(page.locator("#reading")).toHaveText("Column 9 of 16, row 9 of 16 of the latents.");
  await page.keyboard.press("ArrowRight");
  await page.keyboard.press("ArrowUp");
  await expect(page.locator("#reading")).toHaveText("Column 10 of 16, row 8 of 16 of the latents.");
  await expect(maps(page).last().locator("figcaption")).toContainText("here");
  await expect(page.locator("[data-guide=place]")).toContainText("step 5 of");
  await page.locator("[data-guide=maps] button").first().hover({ position: { x: 3, y: 3 } });
  await expect(page.locator("#reading")).toHaveText("Column 1 of 16, row 1 of 16 of the latents.");
});

test("one head is shown, in the mean over the steps", async ({ open }) => {
  const page = await open("run", { hash: "#view=words&step=5" });
  const caption = maps(page).first().locator("figcaption");
  await expect(caption).toContainText("mean");
  const before = await caption.innerText();
  await page.getByLabel("Heads").selectOption({ index: 3 });
  await expect(caption).not.toHaveText(before);
  await expect(page.locator("main")).toContainText("does not change with the slider");
});

test("where nothing was recorded the flag is named", async ({ open }) => {
  const page = await open("bare", { hash: "#view=words" });
  await expect(page.locator("main code").first()).toHaveText("--attention");
});

test("maps in 256 levels are said to be, and are at most one level off", async ({ open }) => {
  const page = await open("small", { hash: "#view=words" });
  await expect(page.locator("main footer")).toContainText("in 256 levels: maps of words");
  const look = { factor: null, hard: false, head: null };
  const mine = await page.evaluate((look) => (window as unknown as { __sdviz: Door }).__sdviz.words(5, "apple", look), look);
  const theirs = exported("words/attention-apple.apng").filter((_, i) => i % 4 === 0);
  expect(Math.max(...mine.map((level, i) => Math.abs(level - theirs[i]!)))).toBeLessThanOrEqual(1);
});

test("a changed run says by what, and stands beside the one without", async ({ open }) => {
  const page = await open("edits", { hash: "#view=edits&step=8" });
  const aside = page.locator("main .aside");
  await expect(aside).toContainText("mask **.attn2 words=apple");
  await expect(aside).toContainText("1-4");
  await expect(aside).toContainText(/Changed a tensor\s*\d+ times/);
  await expect(aside).toContainText("apple");
  await expect(page.locator("main .pair figure")).toHaveCount(2);
  await expect(page.locator("main .pair")).toContainText("apart by");
  await page.getByLabel("How much of the picture is before").fill("100");
  await expect(page.locator("main .upper")).toHaveCSS("clip-path", /inset\(0(px)? 0%?/);
});

test("a page without changed runs has no such view", async ({ open }) => {
  const page = await open("two");
  await expect(page.getByRole("button", { name: "Edits" })).toHaveCount(0);
});
