// From a block's text to numbers: base64, inflate, the shuffled bytes put in order, halves widened.
import type { Dtype } from "./types";

/** Whether this browser can inflate; one that cannot is told so. */
export function canInflate(): boolean {
  return typeof DecompressionStream !== "undefined";
}

/** The bytes that a base64 text stands for. */
export function fromBase64(text: string): Uint8Array<ArrayBuffer> {
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
  return bytes;
}

/** Raw deflate undone. */
export async function inflate(bytes: Uint8Array<ArrayBuffer>): Promise<Uint8Array> {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** Bytes that were laid plane by plane (all first bytes of the values, all second, …) put together again. */
export function unshuffle(planes: Uint8Array, size: number): Uint8Array<ArrayBuffer> {
  const count = planes.length / size;
  const bytes = new Uint8Array(planes.length);
  for (let plane = 0; plane < size; plane++) {
    for (let i = 0, from = plane * count, to = plane; i < count; i++, from++, to += size) bytes[to] = planes[from]!;
  }
  return bytes;
}

let halves: Float32Array | undefined;

/** Every half-precision number, by its bits. */
function halfTable(): Float32Array {
  if (halves) return halves;
  halves = new Float32Array(65536);
  for (let bits = 0; bits < 65536; bits++) halves[bits] = half(bits);
  return halves;
}

/** The value of a half-precision number (IEEE 754 binary16) given by its bits. */
export function half(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (1024 + fraction) * 2 ** (exponent - 25);
}

/** Little-endian bytes as numbers. */
export function toNumbers(bytes: Uint8Array<ArrayBuffer>, dtype: "f32" | "f16"): Float32Array {
  // Typed arrays are little-endian on every machine that has a browser today.
  if (dtype === "f32") return new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
  const table = halfTable();
  const bits = new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.length / 2);
  return Float32Array.from(bits, (b) => table[b]!);
}

/**
 * Maps in 256 levels as numbers: first the least and the greatest number of each map, then for each number a byte, the
 * difference of its level to the one before in the map.
 */
export function fromLevels(bytes: Uint8Array<ArrayBuffer>, areas: readonly number[]): Float32Array {
  const ends = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const out = new Float32Array(areas.reduce((sum, area) => sum + area, 0));
  let from = 8 * areas.length;
  let to = 0;
  areas.forEach((area, map) => {
    const lo = ends.getFloat32(8 * map, true);
    const hi = ends.getFloat32(8 * map + 4, true);
    let level = 0;
    for (let i = 0; i < area; i++) {
      level = (level + bytes[from++]!) & 255;
      out[to++] = lo + (level / 255) * (hi - lo);
    }
  });
  return out;
}

/** A block of maps as numbers; `areas` are how many each map has. */
export async function unpackMaps(text: string, dtype: Dtype, areas: readonly number[]): Promise<Float32Array> {
  if (dtype !== "u8") return unpack(text, dtype);
  return fromLevels(new Uint8Array(await inflate(fromBase64(text))), areas);
}

/** A tensor's block as numbers. */
export async function unpack(text: string, dtype: "f32" | "f16"): Promise<Float32Array> {
  const planes = await inflate(fromBase64(text));
  return toNumbers(unshuffle(planes, dtype === "f32" ? 4 : 2), dtype);
}
