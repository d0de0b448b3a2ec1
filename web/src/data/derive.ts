// What follows from the recorded tensors by a formula: the guided prediction, the predicted original, a step under
// another guidance scale. `docs/run-format.md` has the definitions.
import type { Level } from "./types";

/** `uncond + scale · (text − uncond)`: what the scheduler is given (Ho and Salimans 2022). */
export function guide(uncond: Float32Array, text: Float32Array, scale: number): Float32Array {
  const out = new Float32Array(text.length);
  for (let i = 0; i < out.length; i++) out[i] = uncond[i]! + scale * (text[i]! - uncond[i]!);
  return out;
}

/** `a − b`. */
export function subtract(a: Float32Array, b: Float32Array): Float32Array {
  const out = new Float32Array(a.length);
  for (let i = 0; i < out.length; i++) out[i] = a[i]! - b[i]!;
  return out;
}

/**
 * The clean latents that a prediction implies: with z the latents in the model's variance,
 * (z − √(1−ᾱ)·ε) / √ᾱ, or for a model that predicts v, √ᾱ·z − √(1−ᾱ)·v.
 */
export function predictedOriginal(
  entered: Float32Array,
  prediction: Float32Array,
  level: Level,
  predictionType: string,
): Float32Array {
  const signal = Math.sqrt(level.alpha_cumprod);
  const noise = Math.sqrt(1 - level.alpha_cumprod);
  const out = new Float32Array(entered.length);
  for (let i = 0; i < out.length; i++) {
    const z = entered[i]! / level.latent_scale;
    const p = prediction[i]!;
    out[i] = predictionType === "v_prediction" ? signal * z - noise * p : (z - noise * p) / signal;
  }
  return out;
}
