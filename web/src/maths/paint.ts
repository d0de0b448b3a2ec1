// From tensors to pixels: three channels as red, green and blue, one channel in a colour map, a linear map. Pixels are
// RGBA, opaque, one per latent.
import type { Tensor } from "../data/source";
import type { LinearMap, Range } from "../data/types";
import { colourAt, type MapName } from "./colours";
import { toByte, unit } from "./normalise";
import type { Grid } from "./resize";

export interface Pixels {
  width: number;
  height: number;
  data: Uint8ClampedArray<ArrayBuffer>;
}

function blank({ width, height }: { width: number; height: number }): Pixels {
  return { width, height, data: new Uint8ClampedArray(4 * width * height).fill(255) };
}

/** Three channels, any of them in any order, as red, green and blue. */
export function paintChannels(tensor: Tensor, channels: readonly number[], range: Range): Pixels {
  const pixels = blank(tensor);
  const area = tensor.width * tensor.height;
  channels.slice(0, 3).forEach((channel, colour) => {
    const from = channel * area;
    for (let i = 0; i < area; i++) pixels.data[4 * i + colour] = toByte(unit(tensor.data[from + i]!, range));
  });
  return pixels;
}

/** One channel in a colour map. */
export function paintChannel(tensor: Tensor, channel: number, range: Range, map: MapName): Pixels {
  const pixels = blank(tensor);
  const area = tensor.width * tensor.height;
  for (let i = 0; i < area; i++) {
    pixels.data.set(colourAt(map, unit(tensor.data[channel * area + i]!, range)), 4 * i);
  }
  return pixels;
}

/** How much of the picture below a map hides where it is strongest, as `sdviz attention` has it. */
export const MAP_ALPHA = 0.7;

/** A map to be laid over a picture: its colours, the more opaque the stronger it is; alone it is opaque everywhere. */
export function paintMap({ data, height, width }: Grid, range: Range, over: boolean): Pixels {
  const pixels = blank({ height, width });
  data.forEach((value, i) => {
    const place = unit(value, range);
    pixels.data.set(colourAt("inferno", place), 4 * i);
    // What is no number is painted whole, for it to be seen.
    if (over && !Number.isNaN(place)) pixels.data[4 * i + 3] = toByte(MAP_ALPHA * place);
  });
  return pixels;
}

/** Latents as colours by a linear map, clipped and rounded. */
export function paintLinear(tensor: Tensor, map: LinearMap): Pixels {
  const pixels = blank(tensor);
  const area = tensor.width * tensor.height;
  for (let i = 0; i < area; i++) {
    for (let colour = 0; colour < 3; colour++) {
      let mixed = 0;
      for (let c = 0; c < map.weights.length; c++) mixed += map.weights[c]![colour]! * tensor.data[c * area + i]!;
      pixels.data[4 * i + colour] = toByte(Math.fround(map.bias[colour]! + mixed));
    }
  }
  return pixels;
}

/** How far two tensors of one shape are apart at each place: the root of the mean square over the channels. */
export function differenceAt(a: Tensor, b: Tensor): Float32Array {
  const area = a.width * a.height;
  const out = new Float32Array(area);
  for (let i = 0; i < area; i++) {
    let sum = 0;
    for (let c = 0; c < a.channels; c++) sum += (a.data[c * area + i]! - b.data[c * area + i]!) ** 2;
    out[i] = Math.sqrt(sum / a.channels);
  }
  return out;
}
