import { describe, expect, it } from "vitest";
import { brightest, correlation } from "../src/lesson/brightness";
import { KINDS, needed, offered, question, type Kind } from "../src/lesson/questions";
import { PAGES } from "../src/lesson/tour";
import { en } from "../src/i18n/en";
import { made, view } from "./made";

const lone = view(made());
const banana = view(made({ id: "1", prompt: "a banana on a purple background" }));
const quick = made({ id: "2" });
quick.run.record.plan.steps = 5;
const runs = [lone, banana, view(quick)];

const ask = (kind: Kind, lesson: Partial<{ seed: number; number: number; turn: number; missed: boolean }> = {}) =>
  question([kind], lone, runs, { seed: 1, number: 0, turn: 0, missed: false, ...lesson });

describe("questions", () => {
  it("are those that the runs can give", () => {
    expect(offered(lone, runs)).toEqual([...KINDS]);
    expect(offered(lone, [lone])).toEqual(["order", "where", "first", "scale", "uncond", "channel", "word", "looked", "most"]);
    const bare = made();
    bare.run.map = null;
    bare.run.pictures = {};
    bare.run.tensors = {};
    bare.run.attention = null;
    expect(offered(view(bare), [])).toEqual([]);
  });

  it("name only what is missing for the others", () => {
    expect(needed(lone, runs)).toEqual([]);
    expect(needed(lone, [lone])).toEqual(["sdviz sweep --steps 4,8,25", "sdviz sweep --prompt A --prompt B"]);
    const latents = made();
    latents.run.tensors = { latents: latents.run.tensors.latents! };
    latents.run.attention = null;
    expect(needed(view(latents), runs)).toEqual(["--record all", "--attention"]);
    latents.run.record.plan.record = ["latents", "noise_uncond", "noise_text", "noise_guided", "predicted_original"];
    expect(needed(view(latents), runs)).toEqual(["sdviz report --full", "--attention"]);
  });

  it("are the same for a class with one number, and others with another", async () => {
    const strip = async (seed: number) =>
      JSON.stringify((await ask("order", { seed }))!.choices.map((choice) => choice.label));
    expect(await strip(5)).toBe(await strip(5));
    const all = await Promise.all([1, 2, 3, 4, 5, 6].map(strip));
    expect(new Set(all).size).toBeGreaterThan(3);
  });

  it("have an answer among their choices, each once", async () => {
    for (const kind of KINDS) {
      for (let seed = 1; seed < 12; seed++) {
        for (const turn of [0, 1, 2]) {
          const asked = (await ask(kind, { seed, turn }))!;
          const labels = asked.choices.map((choice) => JSON.stringify(choice.label));
          expect(new Set(labels).size, kind).toBe(labels.length);
          expect(asked.answer.every((place) => asked.choices[place] !== undefined), kind).toBe(true);
          expect(new Set(asked.answer).size).toBe(asked.answer.length);
        }
      }
    }
  });

  it("order frames by their steps, fewer of them after a miss", async () => {
    const five = (await ask("order"))!;
    const steps = five.answer.map((place) => five.choices[place]!.label.step!);
    expect(steps).toEqual([...steps].sort((a, b) => a - b));
    expect(steps).toHaveLength(5);
    expect((await ask("order", { missed: true }))!.choices).toHaveLength(3);
  });

  it("know the truth", async () => {
    const scale = (await ask("scale"))!;
    expect(scale.choices[scale.answer[0]!]!.label.scale).toBe(Math.max(...scale.choices.map((c) => c.label.scale!)));
    const uncond = (await ask("uncond"))!;
    expect(uncond.choices[uncond.answer[0]!]!.label.scale).toBe(0);
    const first = (await ask("first"))!;
    expect(first.choices[first.answer[0]!]!.label.step).toBe(1);
    const steps = (await ask("steps"))!;
    expect(steps.choices[steps.answer[0]!]!.label.step).toBe(5);
    const word = (await ask("word"))!;
    expect(word.choices[word.answer[0]!]!.label.text).toBe(word.look[0]!.as === "word" && word.look[0]!.word);
    const looked = (await ask("looked"))!;
    expect(looked.choices[looked.answer[0]!]!.label.text).toBe(looked.subject);
    // Nearly everything goes to the padding of the made-up run; then come the words.
    const most = await Promise.all([0, 1].map((turn) => ask("most", { turn })));
    expect(most.map((one) => one!.choices[one!.answer[0]!]!.label.part)).toEqual(["padding", "words"]);
    const where = (await ask("where"))!;
    expect(where.choices[where.answer[0]!]!.label.step).toBe(where.look[0]!.step);
    const prompt = (await ask("prompt"))!;
    expect(prompt.choices[prompt.answer[0]!]!.label.text).toBe(prompt.look[0]!.run.plan.prompt);
  });

  it("come in every kind before one comes again", async () => {
    const kinds = await Promise.all(
      KINDS.map(async (_, number) => (await question(KINDS, lone, runs, { seed: 3, number, turn: 0, missed: false }))!.kind),
    );
    expect(new Set(kinds).size).toBe(KINDS.length);
  });
});

describe("brightness", () => {
  it("is found by correlation, whatever its sign", async () => {
    expect(correlation([1, 2, 3], [-2, -4, -6])).toBeCloseTo(-1);
    expect(correlation([1, 1, 1], [1, 2, 3])).toBe(0);
    const bright = made();
    bright.run.map!.weights = [[0, 0, 0], [0, 0, 0], [-0.5, -0.5, -0.5], [0, 0, 0]];
    expect(await brightest(view(bright), 25)).toBe(2);
  });
});

describe("the tour", () => {
  it("has words for every page", () => {
    for (const page of PAGES) expect(en.lesson.guide.pages[page.id].body).not.toBe("");
    expect(Object.keys(en.lesson.guide.pages)).toEqual(PAGES.map((page) => page.id));
  });
});
