// A report in a browser, from a file, with the network off.
import { expect, exported, painted, test } from "./page";

const LAST = 8;

test("opens at a half-made picture, and everything follows the one scrubber", async ({ open }) => {
  const page = await open("run");
  const place = page.locator("[data-guide=place]");
  await expect(place).toContainText("step 5 of");
  const large = page.locator("[data-guide=large] img");
  const before = await large.getAttribute("src");
  await page.keyboard.press("ArrowRight");
  await expect(place).toContainText("step 6 of");
  await expect(large).not.toHaveAttribute("src", before!);
  await page.locator("[data-guide=scrubber]").fill("2");
  await expect(place).toContainText("step 2 of");
  await page.keyboard.press("End");
  await expect(page.locator("nav .steps")).toContainText(`${LAST} / ${LAST}`);
  await page.keyboard.press("Home");
  await expect(place).toContainText("step 0 of");
  await expect(page.getByText("There is no prediction before the first step.").first()).toBeVisible();
});

test("plays to the end and stops there", async ({ open }) => {
  const page = await open("run");
  await page.getByLabel("Speed").selectOption("4×");
  await page.locator("body").press("6");
  await page.keyboard.press("Space");
  await expect(page.getByRole("button", { name: "Pause" })).toBeVisible();
  await expect(page.locator("[data-guide=place]")).toContainText(`step ${LAST} of`);
  await expect(page.getByRole("button", { name: "Play", exact: true })).toBeVisible();
});

test("keys do nothing while something is typed", async ({ open }) => {
  const page = await open("run", { hash: "#view=shapes&step=4" });
  await page.getByRole("searchbox").fill("g l 64x64 ");
  await page.getByRole("searchbox").press("ArrowRight");
  await expect(page.locator("[data-guide=place]")).toContainText("step 4 of");
  await expect(page.getByRole("searchbox")).toBeVisible();
  await page.keyboard.press("Control+d");
  await expect(page.getByRole("searchbox")).toBeVisible();
});

test("paints the very pixels of the exporter", async ({ open }) => {
  const page = await open("run");
  for (const [folder, step] of [["first", 0], ["last", LAST]] as const) {
    expect(await painted(page, step, [3, 0, 1])).toEqual(exported(`${folder}/latents-301.apng`));
  }
});

test("is at most one level off where the file holds halves, and says so", async ({ open }) => {
  const page = await open("small", { hash: "#view=channels" });
  await expect(page.getByText("half precision").first()).toBeVisible();
  await expect(page.locator("main footer")).toContainText("sdviz report --full");
  const [mine, theirs] = [await painted(page, LAST, [3, 0, 1]), exported("last/latents-301.apng")];
  expect(mine.length).toBe(theirs.length);
  expect(Math.max(...mine.map((value, i) => Math.abs(value - theirs[i]!)))).toBeLessThanOrEqual(1);
});

test("the canvas shows what was chosen in the lab", async ({ open, said }) => {
  const page = await open("run", { hash: `#view=channels&step=${LAST}` });
  const canvas = page.locator("[data-guide=mixed] canvas");
  const read = () => canvas.evaluate((c: HTMLCanvasElement) => [...c.getContext("2d")!.getImageData(0, 0, c.width, c.height).data]);
  await expect.poll(read).toEqual(await painted(page, LAST, [0, 1, 2]));
  await page.getByRole("group", { name: "Red" }).getByText("3").click();
  await page.getByRole("group", { name: "Green" }).getByText("0").click();
  await page.getByRole("group", { name: "Blue" }).getByText("1").click();
  await expect.poll(read).toEqual(await painted(page, LAST, [3, 0, 1]));
  await expect(page.locator("[data-guide=mixed] figcaption")).toContainText("3, 0, 1");
  // Reading back is the test's doing, and slow.
  expect(said.splice(0).filter((line) => !line.includes("willReadFrequently"))).toEqual([]);
});

test("guidance with another scale is another picture, and with its own the same", async ({ open }) => {
  const page = await open("run", { hash: "#view=guidance&step=3" });
  const tried = page.locator("[data-guide=what-if] figcaption").first();
  await expect(tried).toContainText("differs by 0 ");
  await page.locator("[data-guide=what-if] input").fill("15");
  await expect(tried).not.toContainText("differs by 0 ");
});

test("shapes are found by name and by shape", async ({ open }) => {
  const page = await open("run", { hash: "#view=shapes" });
  await page.getByRole("searchbox").fill("16×16");
  await expect(page.getByRole("cell", { name: "starting_latents" })).toBeVisible();
  await page.getByRole("searchbox").fill("no such thing");
  await expect(page.getByText("No tensor has this name or this shape")).toBeVisible();
});

test("a box of the overview opens in place, with the shapes of this run", async ({ open }) => {
  const page = await open("run");
  await expect(page.locator("nav.overview")).toContainText("2×77");
  await expect(page.locator("nav.overview")).toContainText("1×4×16×16");
  await page.locator("[data-guide=stage-tokens]").click();
  await expect(page.locator("#stage")).toContainText("apple");
  await page.keyboard.press("Escape");
  await expect(page.locator("#stage")).toHaveCount(0);
});

test("what was not recorded is said, with the flag", async ({ open }) => {
  const page = await open("bare", { hash: "#view=guidance" });
  await expect(page.locator("main")).toContainText("was not recorded");
  await expect(page.locator("main code").first()).toContainText("--record all");
  await page.keyboard.press("p");
  await expect(page.locator("[data-guide=noise], [data-guide=x0]").first()).toContainText("--record all");
});

test("a prompt is text and nothing else", async ({ open, said }) => {
  const page = await open("hostile");
  await page.locator("[data-guide=stage-prompt]").click();
  await expect(page.locator("blockquote")).toContainText("</script><script>window.hacked=1</script>");
  expect(await page.evaluate(() => (window as { hacked?: number }).hacked)).toBeUndefined();
  expect(await page.locator("img[src=x]").count()).toBe(0);
  // The policy lets no other script run.
  const added = await page.evaluate(() => {
    const refused = new Promise<string>((done) => document.addEventListener("securitypolicyviolation", (e) => done(e.effectiveDirective)));
    const script = document.createElement("script");
    script.textContent = "window.hacked = 2";
    document.body.append(script);
    return refused;
  }).catch(String);
  expect(added).toContain("script-src");
  expect(said.splice(0)).toEqual([expect.stringContaining("Content Security Policy")]);
  expect(await page.evaluate(() => (window as { hacked?: number }).hacked)).toBeUndefined();
});

test("two runs stand beside each other in step, with where they differ", async ({ open }) => {
  const page = await open("two", { hash: "#view=compare&step=4" });
  await expect(page.locator("[data-guide=runs] figure")).toHaveCount(3);
  await expect(page.locator("[data-guide=runs]")).toContainText("a banana on a purple background");
  await expect(page.locator("[data-guide=runs]")).toContainText("apart by");
});

test("a sweep is a grid, and a cell opens its run", async ({ open }) => {
  const page = await open("sweep");
  await expect(page.locator("main tbody button")).toHaveCount(4);
  await page.getByLabel("Down").selectOption("nothing");
  await expect(page.locator("main tbody button")).toHaveCount(2);
  await page.locator("main tbody button").last().click();
  await expect(page.locator("[data-guide=place]")).toBeVisible();
  await expect(page.locator("section.player")).toBeVisible();
});

test("a second pass has its own size and begins without a prediction", async ({ open }) => {
  const page = await open("twice", { hash: "#view=guidance&step=5" });
  await expect(page.locator(".arrow.last")).toHaveText("1×3×256×256");
  await expect(page.locator("main")).toContainText("With this step the second pass begins");
  await page.locator("[data-guide=stage-prompt]").click();
  await expect(page.locator("#stage")).toContainText("128×128, then 256×256");
  await page.locator("[data-guide=stage-steps]").click();
  await expect(page.locator("#stage")).toContainText("6 times the model looks");
});

test("guidance that is brought back is shown as the run used it", async ({ open }) => {
  const page = await open("rescaled", { hash: "#view=guidance&step=3" });
  await expect(page.locator("[data-guide=sum]")).toContainText("φ = 0.7");
  const own = await page.evaluate(async () => {
    const { run } = (window as unknown as { __sdviz: { session: { run: { tensor(key: string, step: number): Promise<{ data: Float32Array }> } } } }).__sdviz.session;
    const { data } = await run.tensor("noise_guided", 3);
    return Math.sqrt(data.reduce((sum, v) => sum + v * v, 0)).toFixed(1);
  });
  await expect(page.locator("[data-guide=parts] figure").last()).toContainText(`length ${own}`);
  await page.locator("[data-guide=stage-steps]").click();
  await expect(page.locator("#stage")).toContainText("This scheduler keeps them larger");
});

test("a curve's table has each number at its step", async ({ open }) => {
  const page = await open("run", { hash: "#step=2" });
  await page.getByText("Lengths").click();
  const chart = page.locator("[data-guide=curves]");
  const shown = await chart.locator("li .numbers").allInnerTexts();
  await chart.getByText("As a table").click();
  await expect(chart.locator("tbody tr").nth(2).locator("td")).toHaveText(["2", ...shown]);
});

test("an address that is put into an open page is followed", async ({ open }) => {
  const page = await open("run", { hash: "#view=player&step=2" });
  await page.evaluate(() => (location.hash = "#view=guidance&step=7"));
  await expect(page.locator("[data-guide=place]")).toContainText("step 7 of");
  await expect(page.locator("[data-guide=parts]")).toBeVisible();
  // Its own writing does not bring it back.
  await page.locator("body").press("ArrowLeft");
  await page.waitForTimeout(450);
  await page.locator("body").press("ArrowLeft");
  await page.waitForTimeout(600);
  await expect(page.locator("[data-guide=place]")).toContainText("step 5 of");
});

test("the address is a place that can be passed on", async ({ open }) => {
  const page = await open("run");
  await page.keyboard.press("g");
  await page.keyboard.press("End");
  await expect.poll(() => page.url()).toContain(`view=guidance&step=${LAST}`);
});

test("languages are exchanged, and the choice is kept", async ({ open }) => {
  const page = await open("run");
  await page.getByRole("button", { name: "中文" }).click();
  await expect(page.locator("html")).toHaveAttribute("lang", "zh-Hans");
  await expect(page.getByRole("button", { name: "播放", exact: true }).first()).toBeVisible();
  await page.getByRole("button", { name: "English" }).click();
  await expect(page.getByRole("button", { name: "Play", exact: true })).toBeVisible();
});

test("prints without its controls", async ({ open }) => {
  const page = await open("run", { theme: "dark" });
  await page.emulateMedia({ media: "print" });
  await expect(page.locator(".bar")).toBeHidden();
  expect(await page.evaluate(() => getComputedStyle(document.documentElement).backgroundColor)).toBe("rgb(255, 255, 255)");
});
