// What every browser test begins with: a page from a file, with the network off, that says nothing on the console and asks
// for nothing.
import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { test as base, expect, type Page } from "@playwright/test";
import { PNG } from "pngjs";

const FOLDER = resolve(process.env.PAGES ?? "../target/web-test");

export const PAGES = { run: "run/index.html", bare: "bare/index.html", hostile: "hostile/index.html", sweep: "sweep/index.html", two: "two.html", edits: "edits.html", small: "small.html", twice: "twice/index.html", rescaled: "rescaled/index.html" };

export interface Settings {
  language?: "en" | "zh";
  theme?: "light" | "dark";
  /** Of the type, 0 to 2. */
  size?: number;
  hash?: string;
}

interface Fixtures {
  /** What the page said on the console or asked the network for: at a test's end, nothing. */
  said: string[];
  open: (page: keyof typeof PAGES, settings?: Settings) => Promise<Page>;
}

export const test = base.extend<Fixtures>({
  said: async ({}, use) => use([]),
  open: async ({ page, context, said }, use) => {
    page.on("console", (message) => said.push(`${message.type()}: ${message.text()}`));
    page.on("pageerror", (error) => said.push(String(error)));
    page.on("request", (request) => {
      if (!/^(file|data|blob):/.test(request.url())) said.push(`asked for ${request.url()}`);
    });
    await context.setOffline(true);
    await use(async (name, { language = "en", theme = "light", size = 0, hash = "" } = {}) => {
      await page.addInitScript(
        (settings) => localStorage.setItem("sdviz", JSON.stringify(settings)),
        { language, theme, size },
      );
      await page.goto(pathToFileURL(resolve(FOLDER, PAGES[name])).href + hash);
      await expect(page.locator("main")).toBeVisible();
      return page;
    });
    expect(said).toEqual([]);
  },
});

export { expect };

/** Pixels of the first picture of an exporter's file, as RGBA. */
export function exported(path: string): number[] {
  return [...PNG.sync.read(readFileSync(resolve(FOLDER, path))).data];
}

/** What the page would paint of a step. */
export function painted(page: Page, step: number, channels: number[]): Promise<number[]> {
  return page.evaluate(
    ([step, channels]) => (window as unknown as { __sdviz: Door }).__sdviz.paint(step, channels),
    [step, channels] as const,
  );
}

export interface Door {
  paint(step: number, channels: readonly number[]): Promise<number[]>;
  words(step: number, word: string, look: { factor: number | null; hard: boolean; head: null }): Promise<number[]>;
}
