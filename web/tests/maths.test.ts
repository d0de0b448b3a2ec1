import { deflateRawSync } from "node:zlib";
import { describe, expect, it } from "vitest";
import { guide, predictedOriginal, subtract } from "../src/data/derive";
import { fromBase64, half, toNumbers, unpack, unshuffle } from "../src/data/unpack";
import { colourAt, isDiverging, MAPS } from "../src/maths/colours";
import { aroundZero, clipped, extent, histogram, moments, toByte, unit } from "../src/maths/normalise";
import { differenceAt, paintChannel, paintChannels, paintLinear } from "../src/maths/paint";
import { mix, Random } from "../src/maths/random";
import { ticks } from "../src/maths/ticks";
import { angle, norm, rms } from "../src/maths/vectors";

const tensor = (values: number[], channels: number, height: number, width: number) => ({
  data: Float32Array.from(values),
  channels,
  height,
  width,
});

describe("numbers to bytes", () => {
  it("rounds and clips as the exporters do", () => {
    // The figures are those of src/viz/latents.rs's tests.
    expect([0.5, -1.5, 1.5].map((v) => toByte(unit(v, [-1.5, 2.5])))).toEqual([128, 0, 191]);
    expect([-9, 9, NaN, Infinity].map((v) => toByte(unit(v, [-1, 1])))).toEqual([0, 255, 0, 255]);
    expect([1, 2, 3].map((v) => unit(v, [2, 2]))).toEqual([0, 0.5, 1]);
  });

  it("finds ranges without what is not finite", () => {
    expect(extent(Float32Array.from([NaN, 2, -3, Infinity]))).toEqual([-3, 2]);
    expect(extent(Float32Array.from([NaN]))).toBeNull();
    expect(aroundZero([-1, 4])).toEqual([-4, 4]);
    expect(clipped(Float32Array.from([-2, 0, 1, 2]), [-1, 1])).toBe(0.5);
  });

  it("counts values into bins, the greatest into the last", () => {
    expect(histogram(Float32Array.from([0, 0.4, 0.5, 1, 7]), [0, 1], 2)).toEqual([2, 2]);
    expect(histogram(Float32Array.from([1]), [1, 1], 2)).toEqual([0, 0]);
    const { mean, std } = moments(Float32Array.from([2, 4, 4, 4, 5, 5, 7, 9, NaN]));
    expect([mean, std]).toEqual([5, 2]);
  });
});

describe("blocks", () => {
  it("knows every kind of half", () => {
    expect([0x0000, 0x8000, 0x3c00, 0xc100, 0x0001, 0x7bff].map(half)).toEqual([0, -0, 1, -2.5, 2 ** -24, 65504]);
    expect(half(0x7c00)).toBe(Infinity);
    expect(half(0xfe00)).toBeNaN();
    expect([...toNumbers(new Uint8Array([0x00, 0x3c, 0x00, 0xc1]), "f16")]).toEqual([1, -2.5]);
  });

  it("puts planes together again", async () => {
    expect([...unshuffle(new Uint8Array([1, 3, 5, 2, 4, 6]), 2)]).toEqual([1, 2, 3, 4, 5, 6]);
    const values = Float32Array.from([1.5, -2.25, 1e-7]);
    const bytes = new Uint8Array(values.buffer);
    const planes = Uint8Array.from({ length: 12 }, (_, i) => bytes[(i % 3) * 4 + Math.floor(i / 3)]!);
    const text = deflateRawSync(planes).toString("base64");
    expect([...(await unpack(text, "f32"))]).toEqual([...values]);
    expect([...fromBase64("AP8=")]).toEqual([0, 255]);
  });
});

describe("what follows from the record", () => {
  it("guides from one prediction past the other", () => {
    const [uncond, text] = [Float32Array.from([1, 0]), Float32Array.from([2, -1])];
    expect([...guide(uncond, text, 3)]).toEqual([4, -3]);
    expect([...guide(uncond, text, 0)]).toEqual([1, 0]);
    expect([...subtract(text, uncond)]).toEqual([1, -1]);
  });

  it("takes the noise away that was added", () => {
    const [clean, noise, alpha] = [0.75, -1.25, 0.3];
    for (const latent_scale of [1, 4]) {
      const level = { timestep: 1, sigma: 0, alpha_cumprod: alpha, latent_scale };
      const z = Math.sqrt(alpha) * clean + Math.sqrt(1 - alpha) * noise;
      const v = Math.sqrt(alpha) * noise - Math.sqrt(1 - alpha) * clean;
      const entered = Float32Array.from([z * latent_scale]);
      const back = (prediction: number, type: string) =>
        predictedOriginal(entered, Float32Array.from([prediction]), level, type)[0]!;
      expect(back(noise, "epsilon")).toBeCloseTo(clean, 5);
      expect(back(v, "v_prediction")).toBeCloseTo(clean, 5);
    }
  });

  it("measures vectors", () => {
    expect(norm(Float32Array.from([3, 4]))).toBe(5);
    expect(angle(Float32Array.from([1, 0]), Float32Array.from([0, 2]))).toBeCloseTo(90);
    expect(angle(Float32Array.from([0]), Float32Array.from([1]))).toBeNull();
    expect(rms(Float32Array.from([1, 1]), Float32Array.from([1, 3]))).toBeCloseTo(Math.SQRT2);
  });
});

describe("pixels", () => {
  const four = tensor([0, 1, 2, 3], 4, 1, 1);

  it("shows three channels in the order that was chosen", () => {
    expect([...paintChannels(four, [2, 0, 3], [0, 3]).data]).toEqual([170, 0, 255, 255]);
    expect([...paintChannel(four, 1, [0, 2], "grey").data]).toEqual([128, 128, 128, 255]);
  });

  it("shows latents by a linear map, clipped", () => {
    const map = {
      weights: [[0.1, 0, 0], [0.1, 0, 1], [0, 0, 0], [0, 0.25, 1]] as [number, number, number][],
      bias: [0.4, 0, 0] as [number, number, number],
      fit: { samples: 1, r2: 1, psnr_db: 1 },
    };
    expect([...paintLinear(four, map).data]).toEqual([128, 191, 255, 255]);
  });

  it("says how far two tensors are apart at each place", () => {
    const a = tensor([0, 0, 0, 0], 2, 1, 2);
    const b = tensor([3, 1, 4, 1], 2, 1, 2);
    expect(differenceAt(a, b)[0]).toBeCloseTo(Math.sqrt(12.5));
    expect(differenceAt(a, b)[1]).toBe(1);
  });

  it("has maps that end where the exporters' end", () => {
    const near = (colour: readonly number[], wanted: number[]) =>
      wanted.forEach((value, i) => expect(Math.abs(colour[i]! - value)).toBeLessThanOrEqual(4));
    near(colourAt("viridis", 0), [68, 1, 84]);
    near(colourAt("viridis", 1), [253, 231, 37]);
    expect(colourAt("grey", 0.5)).toEqual([128, 128, 128, 255]);
    expect(colourAt("magma", NaN)).toEqual([255, 0, 255, 255]);
    expect(MAPS.filter(isDiverging)).toEqual(["blue-red", "purple-orange"]);
    const [cold, warm] = [colourAt("blue-red", 0), colourAt("blue-red", 1)];
    expect(cold[2]).toBeGreaterThan(cold[0]);
    expect(warm[0]).toBeGreaterThan(warm[2]);
  });

  it("marks axes with round numbers", () => {
    expect(ticks(-3.2, 3.1, 4)).toEqual([-2, 0, 2]);
    expect(ticks(0, 1000, 5)).toEqual([0, 200, 400, 600, 800, 1000]);
    expect(ticks(0.5, 0.5, 3)).toEqual([0.5]);
  });
});

describe("chance", () => {
  it("is the same for the same seed, and another for another", () => {
    const draw = (seed: number) => Array.from({ length: 5 }, ((r) => () => r.below(1000))(new Random(seed)));
    expect(draw(7)).toEqual(draw(7));
    expect(draw(7)).not.toEqual(draw(8));
    expect(new Set([mix(1, 0), mix(1, 1), mix(2, 0)]).size).toBe(3);
  });

  it("keeps every card when it shuffles, and reaches every order", () => {
    const orders = new Set<string>();
    for (let seed = 0; seed < 200; seed++) {
      const mixed = new Random(seed).shuffled([1, 2, 3]);
      expect([...mixed].sort()).toEqual([1, 2, 3]);
      orders.add(mixed.join());
    }
    expect(orders.size).toBe(6);
  });
});
