import { describe, expect, it } from "vitest";
import { agrees, guide, guidedBy } from "../src/data/derive";
import { rms } from "../src/maths/vectors";
import { search } from "../src/views/search";
import { cellAt, cellName, firstLayout } from "../src/views/grid";
import { apart, endedBefore, stepAt } from "../src/views/settings_of";
import { en } from "../src/i18n/en";
import { made, view } from "./made";

describe("a run", () => {
  it("computes what the page does not hold, and it is what was recorded", async () => {
    const whole = made();
    const recorded = await view(whole).tensor("noise_guided", 9);
    const reduced = made();
    reduced.run.tensors.noise_guided!.derived = true;
    reduced.run.tensors.predicted_original!.derived = true;
    const run = view(reduced);
    const guided = await run.tensor("noise_guided", 9);
    guided!.data.forEach((v, i) => expect(Math.abs(v - recorded!.data[i]!)).toBeLessThan(1e-5));
    expect((await run.tensor("predicted_original", 9))!.data.length).toBe(4 * 16 * 16);
    expect(run.tensor("predicted_original", 0)).toBeNull();
  });

  it("gives at once what came before", async () => {
    const run = view(made());
    const coming = run.tensor("latents", 3);
    expect(coming).toBeInstanceOf(Promise);
    const there = await coming;
    expect(run.tensor("latents", 3)).toEqual(there);
  });

  it("divides latents by the level's scale, in f32", async () => {
    const data = made();
    data.run.record.schedule[3]!.latent_scale = 3.7;
    const run = view(data);
    const [plain, scaled] = [await run.tensor("latents", 3), await run.scaled("latents", 3)];
    expect(scaled!.data[5]).toBe(Math.fround(plain!.data[5]! / Math.fround(3.7)));
  });

  it("says which step is the nearest that is here", () => {
    const data = made();
    data.run.pictures.latents!.steps = [0, 10, 20];
    const run = view(data);
    expect([5, 10, 25].map((step) => run.nearestPicture("latents", step))).toEqual([0, 10, 20]);
    expect(run.picture("latents", 5)).toBeNull();
    delete data.run.tensors.latents;
    expect(run.nearest("latents", 5)).toBeNull();
  });

  it("has another scale's prediction brought back as its own was", async () => {
    const run = view(made({ rescale: 0.7 }));
    const [uncond, text, guided] = await Promise.all((["noise_uncond", "noise_text", "noise_guided"] as const).map((key) => run.tensor(key, 15)));
    expect(agrees(guided!.data, guidedBy(run.plan, uncond!.data, text!.data, run.plan.guidance_scale))).toBe(true);
    const [far, brought] = [guide, guidedBy.bind(null, run.plan)].map((by) => by(uncond!.data, text!.data, 40));
    expect(agrees(far!, brought!)).toBe(false);
    const spread = (v: Float32Array) => rms(v, v.map(() => v.reduce((sum, one) => sum + one, 0) / v.length));
    const whole = guidedBy({ ...run.plan, guidance_rescale: 1 }, uncond!.data, text!.data, 15);
    expect(spread(whole)).toBeCloseTo(spread(text!.data), 4);
  });

  it("has a second pass of another size", () => {
    const data = made();
    data.run.record.hires = { first_step: 20, width: 256, height: 192, scale: 2 };
    const run = view(data);
    expect(run.size(19)).toEqual({ channels: 4, height: 16, width: 16 });
    expect(run.size(20)).toEqual({ channels: 4, height: 24, width: 32 });
    expect([run.planned, run.calls]).toEqual([25, 24]);
    expect([0, 19, 20, 21].filter((step) => run.begins(step))).toEqual([0, 20]);
  });
});

describe("the search for shapes", () => {
  const rows = made().run.shapes;
  const names = (text: string, part: string | null = null) => search(rows, text, part).map((row) => row.name);

  it("takes names, parts and shapes however they are written", () => {
    expect(names("ATTN2")).toHaveLength(1);
    expect(names("16×16")).toEqual(names("16x16"));
    expect(names("16×16")).toContain("noise");
    expect(names("[2,77,128]")).toEqual(["text_embeddings"]);
    expect(names("2·77")).toEqual(["tokens", "text_embeddings"]);
    expect(names("unet 16×16")).toEqual(["unet.conv_in"]);
    expect(names("", "unet")).toHaveLength(2);
    expect(names("77×16")).toEqual([]);
  });
});

describe("several runs", () => {
  it("are told apart by what differs alone", () => {
    const runs = [view(made()), view(made({ id: "1", seed: 2 }))];
    expect(apart(runs, en)).toEqual([[["seed", "1"]], [["seed", "2"]]]);
    expect(apart([runs[0]!, runs[0]!], en)).toEqual([[], []]);
    expect([0, 0.5, 1].map((share) => stepAt(runs[0]!, share))).toEqual([0, 13, 25]);
    const killed = made();
    killed.run.steps = [0, 1, 2, 3];
    expect([0.08, 0.12, 0.5].map((share) => [stepAt(view(killed), share), endedBefore(view(killed), share)])).toEqual([[2, false], [3, false], [3, true]]);
  });

  it("stand on a grid whose other axes are flipped through", () => {
    const sweep = {
      name: "sweep",
      axes: [
        { name: "steps", title: "steps", labels: ["4", "8"] },
        { name: "seed", title: "seed", labels: ["1", "2"] },
        { name: "guidance_scale", title: "guidance scale", labels: ["1", "5"] },
      ],
      cells: [{ id: "a", at: [1, 0, 1], run: "0" }],
    };
    const layout = firstLayout(sweep);
    expect([layout.rows, layout.columns]).toEqual([0, 1]);
    expect(cellAt(sweep, layout, 1, 0)).toBeUndefined();
    layout.at[2] = 1;
    expect(cellAt(sweep, layout, 1, 0)?.id).toBe("a");
    expect(cellName(sweep, sweep.cells[0]!)).toBe("steps 8, seed 1, guidance scale 5");
    expect(firstLayout({ ...sweep, axes: sweep.axes.slice(0, 1) })).toEqual({ rows: null, columns: 0, at: [0] });
  });
});
