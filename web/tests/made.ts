// The made-up run as a test sees it.
import type { Source } from "../src/data/source";
import type { Dtype, Kept, Quantity, Report, RunData, SweepData, What } from "../src/data/types";
import { RunView } from "../src/data/run";
import { unpack, unpackMaps } from "../src/data/unpack";
// @ts-expect-error a plain script, for it also writes pages
import { madeUp } from "./made_up.mjs";

export interface Made {
  run: RunData;
  blocks: Record<string, string>;
}

export const made: (options?: { id?: string; seed?: number; prompt?: string; rescale?: number }) => Made = madeUp;

class MadeSource implements Source {
  constructor(readonly blocks: Record<string, string>) {}

  numbers(run: string, step: number, key: Quantity, kept: Kept): Promise<Float32Array> {
    return unpack(this.blocks[`t-${run}-${key}-${step}`]!, kept.dtype);
  }

  maps(run: string, step: number, dtype: Dtype, areas: readonly number[]): Promise<Float32Array> {
    return unpackMaps(this.blocks[`a-${run}-${step}`]!, dtype, areas);
  }

  heads(run: string, layer: number, dtype: Dtype, areas: readonly number[]): Promise<Float32Array> {
    return unpackMaps(this.blocks[`h-${run}-${layer}`]!, dtype, areas);
  }

  picture(run: string, step: number, what: What): string {
    return `data:image/png;base64,${this.blocks[`p-${run}-${what}-${step}`]}`;
  }

  final(run: string): string {
    return `data:image/png;base64,${this.blocks[`f-${run}`]}`;
  }
}

export function view({ run, blocks }: Made): RunView {
  return new RunView(run, new MadeSource(blocks));
}

export function report(runs: RunData[], sweep: SweepData | null = null): Report {
  return { format: 1, runs, sweep, budget: null };
}
