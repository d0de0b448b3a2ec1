// The colour maps of `src/viz/colour.rs`: 256 places of each, from the same crate (a test in `tests/suite/report.rs` compares
// them). Perceptually even ones for amounts, diverging ones for differences; safe for colour-blind eyes.
import tables from "./colour_maps.json";
import { toByte } from "./normalise";

export const MAPS = ["viridis", "inferno", "magma", "cividis", "blue-red", "purple-orange", "grey"] as const;

export type MapName = (typeof MAPS)[number];

type Rgba = [number, number, number, number];

/** What NaN is painted in: a magenta that no map has. */
export const NAN_COLOUR: Rgba = [255, 0, 255, 255];

/** Whether the middle is special, so that the range should lie evenly about 0. */
export function isDiverging(map: MapName): boolean {
  return map === "blue-red" || map === "purple-orange";
}

const decoded = new Map<string, Rgba[]>();

function table(map: Exclude<MapName, "grey">): Rgba[] {
  let colours = decoded.get(map);
  if (!colours) {
    const hex = tables[map];
    const at = (i: number) => parseInt(hex.slice(2 * i, 2 * i + 2), 16);
    colours = Array.from({ length: 256 }, (_, i) => [at(3 * i), at(3 * i + 1), at(3 * i + 2), 255]);
    decoded.set(map, colours);
  }
  return colours;
}

/** The colour at a place in 0..=1. */
export function colourAt(map: MapName, place: number): Rgba {
  if (Number.isNaN(place)) return NAN_COLOUR;
  if (map === "grey") {
    const byte = toByte(place);
    return [byte, byte, byte, 255];
  }
  return table(map)[Math.min(Math.floor(Math.min(Math.max(place, 0), 1) * 256), 255)]!;
}

/** A map as a CSS gradient, for its bar. */
export function gradient(map: MapName): string {
  const stops = Array.from({ length: 17 }, (_, i) => `rgb(${colourAt(map, i / 16).slice(0, 3).join(" ")})`);
  return `linear-gradient(to right, ${stops.join(", ")})`;
}
