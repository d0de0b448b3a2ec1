// Where tensors and pictures come from: blocks in the page (`inline.ts`) or a server (`http.ts`). The rest of the page
// knows this interface alone.
import type { Dtype, Kept, Quantity, What } from "./types";

/** Numbers with their shape: `[channels, height, width]`, channel by channel, row by row. */
export interface Tensor {
  data: Float32Array;
  channels: number;
  height: number;
  width: number;
}

/** Whether two tensors lie on one another: as many numbers can be laid out in another way. */
export function sameShape(a: Tensor, b: Tensor): boolean {
  return a.channels === b.channels && a.height === b.height && a.width === b.width;
}

export interface Source {
  /** The numbers of a tensor that the run's record says is there. */
  numbers(run: string, step: number, key: Quantity, kept: Kept): Promise<Float32Array>;
  /** All maps of attention of a step, one after another; `areas` are how many numbers each has. */
  maps(run: string, step: number, dtype: Dtype, areas: readonly number[]): Promise<Float32Array>;
  /** The maps of a layer's heads in the mean over the steps. */
  heads(run: string, layer: number, dtype: Dtype, areas: readonly number[]): Promise<Float32Array>;
  /** An address for `<img>`: the decoded picture of a step. */
  picture(run: string, step: number, what: What): string | null;
  /** An address for `<img>`: the finished picture. */
  final(run: string): string | null;
}
