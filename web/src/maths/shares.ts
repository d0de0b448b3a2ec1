// From recorded attention to the map of a word, as `src/export/attention/maps.rs` does it: what its tokens get together, of
// each size of layers as much as that size has heads, never below 0. Of all columns together it is 1 at every place.
import { bicubic, repeated, type Grid } from "./resize";

/** The maps of one size of layers in a step, `[columns, height, width]`. */
export interface SizeMaps {
  /** How many times smaller than the latents. */
  factor: number;
  /** Heads of all layers of this size, of which the maps are the mean. */
  heads: number;
  columns: number;
  height: number;
  width: number;
  data: Float32Array;
}

/** What some columns get at each place. */
export function merged(size: SizeMaps, columns: readonly number[]): Grid {
  const { data, height, width } = size;
  const area = height * width;
  const out = new Float32Array(area);
  for (const column of columns) {
    if (column >= size.columns) continue;
    for (let i = 0; i < area; i++) out[i]! += data[column * area + i]!;
  }
  return { data: out, height, width };
}

/** The share that some columns get at each place of the latents, of one size of layers or, with none named, of all. */
export function share(sizes: readonly SizeMaps[], columns: readonly number[], [height, width]: [number, number], factor: number | null, hard: boolean): Grid {
  const taken = sizes.filter((size) => factor === null || size.factor === factor);
  const heads = taken.reduce((sum, size) => sum + size.heads, 0) || 1;
  const data = new Float32Array(height * width);
  for (const size of taken) {
    const large = (hard ? repeated : bicubic)(merged(size, columns), height, width).data;
    const weight = Math.fround(size.heads / heads);
    for (let i = 0; i < data.length; i++) data[i]! += weight * large[i]!;
  }
  for (let i = 0; i < data.length; i++) if (data[i]! < 0) data[i] = 0;
  return { data, height, width };
}

/** The mean of a map's numbers. */
export function mean({ data }: Grid): number {
  let sum = 0;
  for (const value of data) sum += value;
  return data.length ? sum / data.length : 0;
}
