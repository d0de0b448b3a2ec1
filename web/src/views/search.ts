// The search in the table of shapes: words of names, parts (`vae`), and shapes however they are written (`64×64`, `2,77`).
import type { SiteRow } from "../data/types";

/** The part of the model that a tensor belongs to: the first word of its name. */
export function component(row: SiteRow): string {
  const first = row.name.split(".")[0]!;
  return ["unet", "vae", "text_encoder"].includes(first) ? first : "pipeline";
}

/** The numbers of a shape that is searched for; null where the word is none. */
export function asShape(word: string): number[] | null {
  if (!/^\d+([x×*,·]\d+)*$/i.test(word)) return null;
  return word.split(/[x×*,·]/i).map(Number);
}

/** Whether a shape holds these sizes one after another. */
export function holds(shape: readonly number[], part: readonly number[]): boolean {
  return shape.some((_, from) => part.every((size, i) => shape[from + i] === size));
}

/** The rows that fit every word. */
export function search(rows: readonly SiteRow[], text: string, part: string | null): SiteRow[] {
  const words = text.toLowerCase().trim().split(/\s+/).filter(Boolean);
  return rows.filter((row) => {
    if (part && component(row) !== part) return false;
    return words.every((word) => {
      const sizes = asShape(word.replace(/[[\]]/g, ""));
      const named = row.name.toLowerCase().includes(word) || row.symbolic.toLowerCase().includes(word);
      return named || (sizes !== null && holds(row.shape, sizes));
    });
  });
}
