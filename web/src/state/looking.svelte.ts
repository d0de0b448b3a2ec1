// What the view of words is set to; the guided pages set it too.
import type { AttentionView } from "../data/attention";

/** How many words stand beside each other. */
export const MOST = 6;

/** What the maps lie over. */
export type Below = "x0" | "xt" | "none";

class Looking {
  /** The words that were chosen; null while nobody chose any. */
  words = $state.raw<readonly string[] | null>(null);
  /** Layers of one size; null for all. */
  factor = $state<number | null>(null);
  hard = $state(false);
  below = $state<Below>("x0");
  /** A single head, as `layer.head`; empty for all. */
  head = $state("");
  /** The place that is read, as shares of height and width. */
  at = $state.raw<readonly [number, number] | null>(null);

  /** The words that are shown of a run: those that were chosen and are in its prompt, else those that get the most. */
  shown(attention: AttentionView): readonly string[] {
    const there = attention.allWords.map(({ word }) => word);
    const chosen = this.words?.filter((word) => there.includes(word)) ?? [];
    return chosen.length ? chosen : attention.strongest(3);
  }

  toggle(attention: AttentionView, word: string): void {
    const shown = this.shown(attention);
    const order = attention.allWords.map((one) => one.word);
    const next = shown.includes(word) ? shown.filter((one) => one !== word) : [...shown, word];
    // The last one stays: without a word there is nothing to look at.
    if (next.length && next.length <= MOST) this.words = next.sort((a, b) => order.indexOf(a) - order.indexOf(b));
  }
}

export const looking = new Looking();
