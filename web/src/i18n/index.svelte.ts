// The texts of the page in the language that is chosen.
import { settings } from "../state/settings.svelte";
import { en } from "./en";
import { zh } from "./zh";

export type Texts = typeof en;

/** Every language, by its code. */
export const LANGUAGES: Record<"en" | "zh", Texts> = { en, zh };

/** The texts in the chosen language; read in a component it changes with it. */
export function t(): Texts {
  return LANGUAGES[settings.language];
}

/** A number as people read it, in about three digits: `0.029`, `1.62`, `157`. The minus is a real one. */
export function short(value: number | null | undefined): string {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (!Number.isFinite(value)) return value > 0 ? "∞" : "−∞";
  const size = Math.abs(value);
  const text = size === 0 ? "0" : size < 0.1 ? value.toFixed(3) : size < 10 ? value.toFixed(2) : size < 100 ? value.toFixed(1) : value.toFixed(0);
  return text.replace("-", "−");
}

/** A share as a percentage. */
export function percent(share: number): string {
  const p = 100 * share;
  const text = p === 0 ? "0" : p < 0.01 ? "< 0.01" : p < 1 ? p.toFixed(2) : p.toFixed(1);
  return `${text} %`;
}

/** A whole number with its thousands apart. */
export function whole(value: number): string {
  return new Intl.NumberFormat(settings.language === "zh" ? "zh-Hans" : "en").format(value);
}

/** A shape: `2×77×768`. */
export function shape(sizes: readonly number[]): string {
  return sizes.length ? sizes.join("×") : "1";
}
