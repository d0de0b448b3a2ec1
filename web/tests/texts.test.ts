// Nothing on the page is said in one language only, and nothing is left over that is never said.
import { readdirSync, readFileSync, statSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { LANGUAGES, percent, shape, short } from "../src/i18n/index.svelte";

function leaves(value: unknown, path = ""): [string, unknown][] {
  if (typeof value !== "object" || value === null) return [[path, value]];
  return Object.entries(value).flatMap(([key, inner]) => leaves(inner, path ? `${path}.${key}` : key));
}

function sources(folder: string): string[] {
  return readdirSync(folder).flatMap((name) => {
    const path = `${folder}/${name}`;
    return statSync(path).isDirectory() ? sources(path) : [path];
  });
}

const files = sources("src").filter((path) => !path.startsWith("src/i18n/"));
const code = files.map((path) => readFileSync(path, "utf8")).join("\n");

describe("texts", () => {
  it("have the same keys and kinds in every language", () => {
    const kinds = (texts: unknown) => leaves(texts).map(([path, leaf]) => [path, typeof leaf]);
    expect(kinds(LANGUAGES.zh)).toEqual(kinds(LANGUAGES.en));
  });

  it("are not left in the other language", () => {
    // Symbols and names are the same everywhere.
    const same = leaves(LANGUAGES.en).filter(([path, leaf]) => {
      const other = leaves(LANGUAGES.zh).find(([name]) => name === path)?.[1];
      return typeof leaf === "string" && leaf === other;
    });
    expect(same.map(([path]) => path)).toEqual(["guidance.scale", "shapes.placeholder", "shapes.order", "help.words.sigma.0"]);
  });

  it("are each said somewhere", () => {
    const unused = leaves(LANGUAGES.en).map(([path]) => path).filter((path) => {
      const name = path.split(".").at(-1)!;
      const group = path.split(".").at(-2) ?? "";
      // Groups that are read by a computed name.
      const computed =
        ["views", "keys", "ranges", "quantities"].includes(group) ||
        /^lesson\.(kinds|guide\.pages)\./.test(path) ||
        /^help\.words\./.test(path) ||
        /^(player|curves)\.\w+About$/.test(path);
      return !computed && !new RegExp(`[.]${name}\\b|["'\`]${name}`).test(code);
    });
    expect(unused).toEqual([]);
  });

  it("stand in the texts and not in components", () => {
    const bare: string[] = [];
    for (const path of files.filter((name) => name.endsWith(".svelte"))) {
      const markup = readFileSync(path, "utf8").replace(/<script[\s\S]*?<\/script>|<style[\s\S]*?<\/style>|<!--[\s\S]*?-->|<code>[\s\S]*?<\/code>|<math[\s\S]*?<\/math>/g, "");
      const words = markup.replace(/\{[^{}]*(\{[^{}]*\}[^{}]*)*\}/g, "").match(/>[^<>]*[a-z]{3,}[^<>]*</gi) ?? [];
      bare.push(...words.map((word) => `${path}: ${word}`));
    }
    expect(bare.filter((word) => !/sdviz|UNet/.test(word))).toEqual([]);
  });
});

describe("numbers in words", () => {
  it("have about three digits and a real minus", () => {
    expect([0, 0.0294, 1.617, 11.68, 157.2, -0.5, NaN, -Infinity, null].map(short)).toEqual(["0", "0.029", "1.62", "11.7", "157", "−0.50", "–", "−∞", "–"]);
    expect([0, 0.00001, 0.004, 0.27].map(percent)).toEqual(["0 %", "< 0.01 %", "0.40 %", "27.0 %"]);
    expect([shape([2, 77, 768]), shape([])]).toEqual(["2×77×768", "1"]);
  });
});
