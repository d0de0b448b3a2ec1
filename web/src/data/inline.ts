// A report's own blocks: `README.md` has their names and form.
import type { Source } from "./source";
import type { Dtype, Kept, Quantity, Report, What } from "./types";
import { fromBase64, unpack, unpackMaps } from "./unpack";

function block(id: string): string | null {
  return document.getElementById(id)?.textContent?.trim() ?? null;
}

/** The text of a block that must be there. */
function there(id: string): string {
  const text = block(id);
  if (text === null) throw new Error(`the page has no block ${id}`);
  return text;
}

/** The report in this page, if it holds one. */
export function readReport(): Report | null {
  const text = block("report");
  return text === null ? null : (JSON.parse(text) as Report);
}

export class InlineSource implements Source {
  /** Addresses made so far, so that a picture has one. */
  #addresses = new Map<string, string | null>();

  async numbers(run: string, step: number, key: Quantity, kept: Kept): Promise<Float32Array> {
    return unpack(there(`t-${run}-${key}-${step}`), kept.dtype);
  }

  async maps(run: string, step: number, dtype: Dtype, areas: readonly number[]): Promise<Float32Array> {
    return unpackMaps(there(`a-${run}-${step}`), dtype, areas);
  }

  async heads(run: string, layer: number, dtype: Dtype, areas: readonly number[]): Promise<Float32Array> {
    return unpackMaps(there(`h-${run}-${layer}`), dtype, areas);
  }

  picture(run: string, step: number, what: What): string | null {
    return this.#address(`p-${run}-${what}-${step}`);
  }

  final(run: string): string | null {
    return this.#address(`f-${run}`);
  }

  #address(id: string): string | null {
    let address = this.#addresses.get(id);
    if (address === undefined) {
      const text = block(id);
      // PNG or WebP: the browser looks at the bytes, whatever the type says.
      address = text === null ? null : URL.createObjectURL(new Blob([fromBase64(text)], { type: typeOf(text) }));
      this.#addresses.set(id, address);
    }
    return address;
  }
}

/** Base64 of a PNG begins with its signature. */
function typeOf(text: string): string {
  return text.startsWith("iVBOR") ? "image/png" : "image/webp";
}
