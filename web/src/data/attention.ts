// The attention of a run: which words there are at a step, and their maps. Maps are kept once they came, and never stand in
// reactive state.
import { extent } from "../maths/normalise";
import type { Grid } from "../maths/resize";
import { mean, share, type SizeMaps } from "../maths/shares";
import type { RunView } from "./run";
import type { KeptAttention, KeptWord, Range } from "./types";

/** How a word's map is made. */
export interface Look {
  /** Layers of one size; null for all. */
  factor: number | null;
  /** Numbers repeated, instead of bicubic. */
  hard: boolean;
  /** A single head, in the mean over the steps; null for all heads, step by step. */
  head: { layer: number; head: number } | null;
}

/** Articles, prepositions and `and`: not chosen where nobody chose a word (`src/export/attention/measures.rs`). */
const SMALL = ["a", "an", "the", "of", "on", "in", "at", "to", "and", "with", "by", "for", "from", "is"];

export class AttentionView {
  #maps = new Map<number, SizeMaps[] | Promise<SizeMaps[]>>();
  #heads = new Map<number, SizeMaps[] | Promise<SizeMaps[]>>();
  #ranges = new Map<string, Promise<Range | null>>();

  constructor(
    readonly run: RunView,
    readonly kept: KeptAttention,
  ) {}

  get record() {
    return this.run.record.attention!;
  }

  /** Whether the page has the maps, and not only who gets how much. */
  get mapped(): boolean {
    return this.kept.steps.length > 0;
  }

  /** The step whose maps are shown at `step`: the last that is not after it; null before the first. */
  nearest(step: number): number | null {
    return this.kept.steps.filter((own) => own <= step).at(-1) ?? null;
  }

  /** The text that the model is told at a step, by its place in the record. */
  textAt(step: number): number {
    const schedule = this.record.predictions.find((one) => one.prediction === "text")?.schedule ?? [];
    return (schedule.find((phase) => step <= phase.until) ?? schedule.at(-1))?.text ?? 0;
  }

  /** What can be looked at at a step: words, start, end and padding. */
  words(step: number): KeptWord[] {
    return this.kept.texts[this.textAt(step)] ?? [];
  }

  /** Everything that can be looked at at some step, each once. */
  get allWords(): KeptWord[] {
    const all = this.kept.texts.flat();
    return all.filter((word, i) => all.findIndex((other) => other.word === word.word) === i);
  }

  /** The words that get the most, in the order of the prompt. */
  strongest(most: number): string[] {
    const words = this.kept.shares.filter(({ of }) => this.allWords.some(({ word, kind }) => word === of && kind === "word"));
    const large = words.filter(({ of }) => !SMALL.includes(of));
    const sum = (points: [number, number][]) => points.reduce((all, [, value]) => all + value, 0);
    const chosen = [...(large.length ? large : words)].sort((a, b) => sum(b.points) - sum(a.points)).slice(0, most);
    return words.filter((word) => chosen.includes(word)).map(({ of }) => of);
  }

  /** Height and width of the latents in a step. */
  latents(step: number): [number, number] {
    const { latents, second_latents } = this.record;
    return (this.run.inSecondPass(step) && second_latents) || latents;
  }

  /** Height and width of the maps of a size in a step. */
  grid(factor: number, step: number): [number, number] {
    const [height, width] = this.latents(step);
    return [Math.ceil(height / factor), Math.ceil(width / factor)];
  }

  /** The maps of a step that has some, at once if they came before. */
  maps(step: number): SizeMaps[] | Promise<SizeMaps[]> {
    return remembered(this.#maps, step, async () => {
      const columns = this.record.texts[this.textAt(step)]?.columns.length ?? 0;
      const shapes = this.kept.sizes.map(({ factor, heads }) => {
        const [height, width] = this.grid(factor, step);
        return { factor, heads, columns, height, width };
      });
      const areas = shapes.flatMap(({ height, width }) => Array<number>(columns).fill(height * width));
      return cut(await this.run.source.maps(this.run.id, step, this.kept.dtype, areas), shapes);
    });
  }

  /** The maps of a layer's heads, each as if it were a size of its own. */
  heads(layer: number): SizeMaps[] | Promise<SizeMaps[]> {
    return remembered(this.#heads, layer, async () => {
      const { dtype, text, pass } = this.kept.heads!;
      const { factor, heads } = this.record.layers[layer]!;
      const columns = this.record.texts[text]?.columns.length ?? 0;
      const { latents, second_latents } = this.record;
      const [height, width] = ((pass > 1 && second_latents) || latents).map((side) => Math.ceil(side / factor)) as [number, number];
      const shapes = Array.from({ length: heads }, () => ({ factor, heads: 1, columns, height, width }));
      const areas = Array<number>(heads * columns).fill(height * width);
      return cut(await this.run.source.heads(this.run.id, layer, dtype, areas), shapes);
    });
  }

  /** The map of a word at a step, at the latents' size; null where the word is not in the step's text, or before the first. */
  map(step: number, word: string, look: Look): Grid | null | Promise<Grid | null> {
    if (look.head) return this.#headMap(word, look);
    const own = this.nearest(step);
    const columns = own === null ? undefined : this.words(own).find((one) => one.word === word)?.columns;
    if (own === null || !columns) return null;
    const draw = (maps: SizeMaps[]) => share(maps, columns, this.latents(own), look.factor, look.hard);
    const maps = this.maps(own);
    return maps instanceof Promise ? maps.then(draw) : draw(maps);
  }

  #headMap(word: string, { head, hard }: Look): Grid | null | Promise<Grid | null> {
    const { text, pass } = this.kept.heads!;
    const columns = this.kept.texts[text]?.find((one) => one.word === word)?.columns;
    if (!columns) return null;
    const { latents, second_latents } = this.record;
    const size = (pass > 1 && second_latents) || latents;
    const draw = (maps: SizeMaps[]) => share(maps.slice(head!.head, head!.head + 1), columns, size, null, hard);
    const maps = this.heads(head!.layer);
    return maps instanceof Promise ? maps.then(draw) : draw(maps);
  }

  /** From the least to the greatest number of a word's maps of all steps, or of one head: the range that they are seen in. */
  range(word: string, look: Look): Promise<Range | null> {
    const key = JSON.stringify([word, look]);
    let found = this.#ranges.get(key);
    if (!found) {
      found = this.#range(word, look);
      this.#ranges.set(key, found);
      found.catch(() => this.#ranges.delete(key));
    }
    return found;
  }

  async #range(word: string, look: Look): Promise<Range | null> {
    let all: Range | null = null;
    for (const step of look.head ? [0] : this.kept.steps) {
      const map = await this.map(step, word, look);
      const own = map && extent(map.data);
      if (own) all = all ? [Math.min(all[0], own[0]), Math.max(all[1], own[1])] : own;
    }
    return all;
  }

  /** The share of a word at a step, as the program computed it; else the mean of its map. */
  async shareAt(step: number, word: string): Promise<number | null> {
    const known = this.kept.shares.find(({ of }) => of === word)?.points.find(([own]) => own === step);
    if (known) return known[1];
    const map = await this.map(step, word, { factor: null, hard: false, head: null });
    return map && mean(map);
  }
}

/** What came before, or what comes now and is then kept. */
function remembered<T>(known: Map<number, T | Promise<T>>, key: number, get: () => Promise<T>): T | Promise<T> {
  const there = known.get(key);
  if (there !== undefined) return there;
  const coming = get().then(
    (value) => {
      known.set(key, value);
      return value;
    },
    (reason) => {
      known.delete(key);
      throw reason;
    },
  );
  known.set(key, coming);
  return coming;
}

/** Numbers that lie one after another as the maps of several sizes. */
function cut(all: Float32Array, shapes: Omit<SizeMaps, "data">[]): SizeMaps[] {
  let from = 0;
  const maps = shapes.map((shape) => {
    const count = shape.columns * shape.height * shape.width;
    const data = all.subarray(from, from + count);
    from += count;
    return { ...shape, data };
  });
  if (from > all.length) throw new Error(`${all.length} numbers of attention, and ${from} were expected`);
  return maps;
}
