// What the channel lab and the guidance view are set to; the guided pages set it too.
import type { Quantity } from "../data/types";
import type { MapName } from "../maths/colours";

export const RANGES = ["run", "frame", "percentile", "sigma", "fixed"] as const;

export type RangeKind = (typeof RANGES)[number];

class Lab {
  what = $state<Quantity>("latents");
  /** The channels that stand for red, green and blue. */
  channels = $state<[number, number, number]>([0, 1, 2]);
  range = $state<RangeKind>("run");
  low = $state(-3);
  high = $state(3);
  map = $state<MapName>("viridis");
  /** The scale that is tried in the guidance view; none is the run's own. */
  scale = $state<number | null>(null);
}

export const lab = new Lab();
