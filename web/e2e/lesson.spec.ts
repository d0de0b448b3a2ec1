// Lesson mode: predict, reveal, explain, change; and the tour.
import { expect, test } from "./page";

test("a question is answered, revealed, explained and changed", async ({ open }) => {
  const page = await open("run", { hash: "#view=lesson" });
  // The first question whose choices are clicked one at a time or in order: both are answered the same way.
  const choices = page.locator("article li button");
  await expect(choices.first()).toBeVisible();
  const guess = page.getByRole("button", { name: "That is my guess" });
  await expect(guess).toBeDisabled();
  for (let i = 0; i < (await choices.count()) && (await guess.isDisabled()); i++) await choices.nth(i).click();
  await guess.click();
  await expect(page.locator("article .truth, article .wrong").first()).toBeVisible();
  await expect(page.locator(".said")).toContainText("Say why before you read on.");
  await page.getByRole("button", { name: "Show why" }).click();
  await page.getByRole("button", { name: "Change it, and guess again" }).click();
  await expect(guess).toBeVisible();
  await expect(page.getByText(/of 1 right/)).toBeVisible();
});

test("a wrong guess stays beside the truth", async ({ open }) => {
  const page = await open("run", { hash: "#view=lesson" });
  const guess = page.getByRole("button", { name: "That is my guess" });
  for (let question = 0; question < 12; question++) {
    const choices = page.locator("article li button");
    await expect(choices.first()).toBeVisible();
    const ordering = await page.getByRole("button", { name: "Start over" }).count();
    for (let i = 0; i < (await choices.count()) && (await guess.isDisabled()); i++) await choices.nth(i).click();
    await guess.click();
    if (!ordering && (await page.locator("article .wrong").count())) break;
    await page.getByRole("button", { name: "Show why" }).click();
    await page.getByRole("button", { name: "Next question" }).click();
  }
  await expect(page.locator("article .wrong")).toHaveCount(1);
  await expect(page.locator("article .truth")).toHaveCount(1);
  await expect(page.locator("article")).toContainText("your guess");
});

test("the same number gives the same questions", async ({ open }) => {
  const page = await open("run", { hash: "#view=lesson" });
  const number = page.getByRole("spinbutton");
  const titles = async () => {
    await expect(page.locator("article li button").first()).toBeVisible();
    return page.locator("article").innerText();
  };
  await number.fill("7");
  await number.press("Enter");
  const first = await titles();
  await number.fill("8");
  await number.press("Enter");
  await number.fill("7");
  await number.press("Enter");
  expect(await titles()).toBe(first);
});

test("the tour lights the control that each page speaks of, and tidies up", async ({ open }) => {
  const page = await open("run", { hash: "#view=lesson" });
  await page.getByRole("button", { name: "Begin the tour" }).click();
  const card = page.getByRole("complementary", { name: "Guided tour" });
  for (let n = 1; n <= 11; n++) {
    await expect(card).toContainText(`page ${n} of 11`);
    await expect(page.locator("[data-lit]")).toHaveCount(1);
    await expect(page.locator("[data-lit]")).toBeVisible();
    await card.getByRole("button", { name: "Show", exact: true }).click();
    await card.locator("button.primary").click();
  }
  await expect(card).toHaveCount(0);
  await expect(page.locator("[data-lit]")).toHaveCount(0);
  await expect(page.locator("#stage")).toHaveCount(0);
});
