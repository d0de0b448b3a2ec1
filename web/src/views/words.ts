// Words of the view of words: what they are called, in which colours they stand.
import type { AttentionView } from "../data/attention";
import type { Curve, KeptWord } from "../data/types";
import type { Texts } from "../i18n/index.svelte";
import { added } from "../maths/stack";
import type { Layer } from "../parts/Stacked.svelte";

/** The colour of the word at a place among those that are shown. */
export function colourOf(place: number): string {
  return `var(--c${place % 6})`;
}

/** What is no word has a name in the page's language. */
export function nameOf(word: Pick<KeptWord, "word" | "kind">, texts: Texts): string {
  return word.kind === "word" ? word.word : texts.words.kinds[word.kind];
}

/** A layer's name for people: `down 0.1, 16×16`. */
export function headName({ site, w, h }: { site: string; w: number; h: number }): string {
  const after = (name: string) => /^\d+/.exec(site.split(`${name}.`)[1] ?? "")?.[0] ?? "0";
  const block = site.includes("down_blocks") ? `down ${after("down_blocks")}` : site.includes("up_blocks") ? `up ${after("up_blocks")}` : "mid";
  return `${block}.${after("attentions")}, ${w}×${h}`;
}

const AROUND = { "<end>": "end", "<start>": "start", "<padding>": "padding" } as const;

/** Who gets how much, to be stacked: the words that are shown, the others together, end, start and padding. */
export function layers(attention: AttentionView, shown: readonly string[], texts: Texts): Layer[] {
  const { shares } = attention.kept;
  const of = (name: string): Curve | undefined => shares.find((one) => one.of === name)?.points;
  const own = shown.filter((word) => !(word in AROUND) && of(word));
  const rest = shares.filter(({ of: name }) => !(name in AROUND) && !own.includes(name));
  const all: Layer[] = own.map((word) => ({ name: word, points: of(word)!, fill: colourOf(shown.indexOf(word)) }));
  if (rest.length) all.push({ name: texts.words.others, points: added(rest.map(({ points }) => points)), fill: "var(--s0)" });
  Object.entries(AROUND).forEach(([name, kind], i) => {
    const points = of(name);
    const place = shown.indexOf(name);
    if (points) all.push({ name: texts.words.kinds[kind], points, fill: place < 0 ? `var(--s${i + 1})` : colourOf(place) });
  });
  return all;
}
