// A report's own blocks: `README.md` has their names and form.
import type { Source } from "./source";
import type { Kept, Quantity, Report, What } from "./types";
import { fromBase64, unpack } from "./unpack";

function block(id: string): string | null {
  return document.getElementById(id)?.textContent?.trim() ?? null;
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
    const id = `t-${run}-${key}-${step}`;
    const text = block(id);
    if (text === null) throw new Error(`the page has no block ${id}`);
    return unpack(text, kept.dtype);
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
