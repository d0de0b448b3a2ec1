// Maps of words: enlarged as the program does it, shares that add up to one, the range that they are seen in.
import { describe, expect, it } from "vitest";
import { en } from "../src/i18n/en";
import { fromLevels } from "../src/data/unpack";
import { paintMap } from "../src/maths/paint";
import { bicubic, repeated } from "../src/maths/resize";
import { mean, share, type SizeMaps } from "../src/maths/shares";
import { added, stack } from "../src/maths/stack";
import { looking, MOST } from "../src/state/looking.svelte";
import { baseOf, isChanged, tokensOf } from "../src/views/edits";
import { headName, layers } from "../src/views/words";
import { made, view } from "./made";

/** The map of `src/viz/upsample.rs`'s tests. */
function map() {
  const data = Float32Array.from({ length: 12 }, (_, i) => (i * i) / 10 - 3);
  data[6] = 7;
  return { data, height: 3, width: 4 };
}

const near = (found: ArrayLike<number>, expected: readonly number[]) => {
  expect(found.length).toBe(expected.length);
  expected.forEach((value, i) => expect(found[i]).toBeCloseTo(value, 4));
};

describe("small maps made larger", () => {
  it("are what torch 2.13 gives", () => {
    near(bicubic(map(), 5, 3).data, [-3.14348, -3.4211, -2.639708, -2.734874, -0.385098, -0.691212, -1.401042, 3.8125, 2.762152, 1.780792, 5.634099, 6.831521, 4.092152, 6.223701, 9.414268]);
    const large = bicubic(map(), 7, 9).data;
    near(large.slice(0, 9), [-3.17629, -3.16467, -3.114035, -3.185741, -3.509073, -3.669486, -3.284771, -2.705402, -2.416452]);
    near(large.slice(54), [3.730543, 4.158958, 4.900453, 5.828894, 6.253026, 6.840078, 8.224937, 9.49517, 10.200918]);
  });

  it("or each number repeated", () => {
    const large = repeated(map(), 6, 8);
    large.data.forEach((value, i) => expect(value).toBe(map().data[4 * (i >> 4) + ((i % 8) >> 1)]));
    expect([...repeated({ data: Float32Array.of(0, 1), height: 2, width: 1 }, 3, 1).data]).toEqual([0, 1, 1]);
  });
});

/** Two sizes of maps of four columns, which add up to one at each place. */
function sizes(): SizeMaps[] {
  return [1, 2].map((factor) => {
    const side = 4 / factor;
    const data = new Float32Array(4 * side * side);
    for (let i = 0; i < side * side; i++) {
      const parts = [1, 2, 3, 4].map((c) => 1 + ((c * (i + factor)) % 7));
      const all = parts.reduce((sum, part) => sum + part, 0);
      parts.forEach((part, c) => (data[c * side * side + i] = part / all));
    }
    return { factor, heads: factor === 1 ? 3 : 5, columns: 4, height: side, width: side, data };
  });
}

describe("shares", () => {
  it("of all columns together are one at every place", () => {
    for (const [factor, hard] of [[null, false], [1, true], [2, false]] as const) {
      share(sizes(), [0, 1, 2, 3], [4, 4], factor, hard).data.forEach((value) => expect(value).toBeCloseTo(1, 5));
    }
  });

  it("count as much of each size as it has heads", () => {
    const [one, two, both] = [1, 2, null].map((factor) => share(sizes(), [1, 3], [4, 4], factor, true).data);
    both!.forEach((value, i) => expect(value).toBeCloseTo((3 * one![i]! + 5 * two![i]!) / 8, 6));
  });

  it("are never below zero", () => {
    const peak: SizeMaps = { factor: 2, heads: 1, columns: 1, height: 3, width: 3, data: Float32Array.of(0, 0, 0, 0, 1, 0, 0, 0, 0) };
    expect(Math.min(...share([peak], [0], [6, 6], null, false).data)).toBe(0);
    expect(Math.min(...bicubic(peak, 6, 6).data)).toBeLessThan(0);
  });

  it("come back from 256 levels within half of one", () => {
    // The bytes are those of a test of `levels` in src/export/report/attention.rs: 0.25..0.5, and one number alone.
    const ends = new Uint8Array(Float32Array.of(0.25, 0.5, 0.1, 0.1).buffer);
    const bytes = new Uint8Array([...ends, 0, 255, 52, 206, 0, 0]);
    const found = fromLevels(bytes, [4, 2]);
    [0.25, 0.5, 0.3, 0.251].forEach((value, i) => expect(Math.abs(found[i]! - value)).toBeLessThanOrEqual(0.25 / 509));
    expect([...found.slice(4)]).toEqual([Math.fround(0.1), Math.fround(0.1)]);
  });
});

describe("a run's words", () => {
  const run = view(made());
  const attention = run.attention!;
  const look = { factor: null, hard: false, head: null };

  it("are those of the prompt, with what stands around them", () => {
    expect(attention.words(3).map(({ word }) => word)).toEqual(["<start>", "a", "red", "apple", "on", "blue", "background", "<end>", "<padding>"]);
    expect(attention.strongest(3)).toHaveLength(3);
    expect(attention.strongest(9)).toEqual(["red", "apple", "blue", "background"]);
    expect([attention.nearest(0), attention.nearest(7), attention.nearest(99)]).toEqual([null, 7, 25]);
  });

  it("have maps in one range of all steps, which add up to one", async () => {
    const [lo, hi] = (await attention.range("apple", look))!;
    const [first, last] = [(await attention.map(1, "apple", look))!, (await attention.map(25, "apple", look))!];
    expect(lo).toBeLessThanOrEqual(Math.min(...first.data));
    expect(hi).toBe(Math.max(...last.data));
    const all = await Promise.all(attention.words(9).map(({ word }) => attention.map(9, word, look)));
    for (let i = 0; i < 256; i++) expect(all.reduce((sum, one) => sum + one!.data[i]!, 0)).toBeCloseTo(1, 4);
    expect(mean(all[3]!)).toBeCloseTo((await attention.shareAt(9, "apple"))!, 2);
    expect(attention.map(0, "apple", look)).toBeNull();
    expect(attention.map(5, "pear", look)).toBeNull();
  });

  it("that were not recorded are none", () => {
    const bare = made();
    bare.run.attention = null;
    expect(view(bare).attention).toBeNull();
  });

  it("refuse maps that were cut short", async () => {
    const cut = made();
    cut.blocks["a-0-3"] = cut.blocks["t-0-latents-3"]!;
    await expect(Promise.resolve(view(cut).attention!.maps(3))).rejects.toThrow("were expected");
  });

  it("are stacked to one", () => {
    const all = layers(attention, ["apple", "blue"], en);
    expect(all.map(({ name }) => name)).toEqual(["apple", "blue", "other words", "end-of-text", "begin-of-text", "padding"]);
    const bands = stack(all.map(({ points }) => points));
    bands.at(-1)!.forEach(([, from, to]) => {
      expect(to).toBeCloseTo(1, 4);
      expect(from).toBeLessThan(to);
    });
    expect(added([[[1, 2]], [[1, 3]]])).toEqual([[1, 5]]);
  });

  it("are chosen and left, six at the most and one at the least", () => {
    looking.words = null;
    expect(looking.shown(attention)).toEqual(attention.strongest(3));
    looking.words = ["red"];
    looking.toggle(attention, "red");
    expect(looking.shown(attention)).toEqual(["red"]);
    for (const word of ["a", "apple", "<padding>", "on", "blue", "background"]) looking.toggle(attention, word);
    expect(looking.shown(attention)).toHaveLength(MOST);
    expect(looking.shown(attention)).toEqual(["a", "red", "apple", "on", "blue", "<padding>"]);
    looking.words = null;
  });

  it("are painted the more opaque the stronger they are", () => {
    const { data } = paintMap({ data: Float32Array.of(0, 0.5, 1, NaN), height: 1, width: 4 }, [0, 1], true);
    expect([3, 7, 11, 15].map((i) => data[i])).toEqual([0, 89, 179, 255]);
    expect(paintMap({ data: Float32Array.of(0), height: 1, width: 1 }, [0, 1], false).data[3]).toBe(255);
  });

  it("have layers with names for people", () => {
    const site = "unet.up_blocks.2.attentions.1.transformer_blocks.0.attn2";
    expect(headName({ site, w: 16, h: 8 })).toBe("up 2.1, 16×8");
    expect(headName({ site: "unet.mid_block.attentions.0.transformer_blocks.0.attn2", w: 4, h: 4 })).toBe("mid.0, 4×4");
  });
});

describe("edits", () => {
  const changed = made({ id: "1" });
  changed.run.record.plan.edits = [{ edit: "mask **.attn2 words=apple", tokens: ["prompt:3"] }];

  it("are compared with the run that is like theirs, without them", () => {
    const [run, other, base] = [view(changed), view(made({ id: "2", seed: 2 })), view(made({ id: "3" }))];
    expect([isChanged(run), isChanged(base)]).toEqual([true, false]);
    expect(baseOf(run, [run, other, base])).toBe(base);
    expect(baseOf(run, [run])).toBeNull();
  });

  it("say which words they select", () => {
    expect(tokensOf(view(changed), ["prompt:3", "negative:9"])).toBe("apple, #9");
  });
});
