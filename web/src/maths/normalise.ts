// Which numbers become black and which white: the same arithmetic, in f64, as `src/viz/normalise.rs`, so that the page
// paints the exporters' pixels.
import type { Range } from "../data/types";

/** The place of a number in a range: 0 at its low end, 1 at its high end, clipped. NaN stays NaN. */
export function unit(value: number, [lo, hi]: Range): number {
  if (hi > lo) return Math.min(Math.max((value - lo) / (hi - lo), 0), 1);
  if (Number.isNaN(value)) return NaN;
  return value < lo ? 0 : value > lo ? 1 : 0.5;
}

/** The byte for a place in 0..=1: rounded, not cut. NaN gives 0. */
export function toByte(place: number): number {
  return Number.isNaN(place) ? 0 : Math.floor(Math.min(Math.max(place, 0), 1) * 255 + 0.5);
}

/** From the least to the greatest finite number. */
export function extent(values: Float32Array): Range | null {
  let lo = Infinity;
  let hi = -Infinity;
  for (const v of values) {
    if (!Number.isFinite(v)) continue;
    if (v < lo) lo = v;
    if (v > hi) hi = v;
  }
  return lo <= hi ? [lo, hi] : null;
}

/** The share of numbers outside a range, 0..=1. */
export function clipped(values: Float32Array, [lo, hi]: Range): number {
  let outside = 0;
  for (const v of values) if (v < lo || v > hi) outside++;
  return values.length ? outside / values.length : 0;
}

/** The smallest range with 0 in its middle that holds this one. */
export function aroundZero([lo, hi]: Range): Range {
  const reach = Math.max(Math.abs(lo), Math.abs(hi));
  return [-reach, reach];
}

/** How many numbers fall into each of `bins` equal parts of a range; what lies outside is not counted. */
export function histogram(values: Float32Array, [lo, hi]: Range, bins: number): number[] {
  const counts = new Array<number>(bins).fill(0);
  if (!(hi > lo)) return counts;
  for (const v of values) {
    if (!(v >= lo && v <= hi)) continue;
    const bin = Math.min(Math.floor(((v - lo) / (hi - lo)) * bins), bins - 1);
    counts[bin]!++;
  }
  return counts;
}

/** Mean and standard deviation of the whole population, of the finite numbers. */
export function moments(values: Float32Array): { mean: number; std: number } {
  let count = 0;
  let mean = 0;
  let squares = 0;
  for (const v of values) {
    if (!Number.isFinite(v)) continue;
    count++;
    const distance = v - mean;
    mean += distance / count;
    squares += distance * (v - mean);
  }
  return { mean, std: count ? Math.sqrt(squares / count) : 0 };
}
