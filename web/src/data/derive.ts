// What follows from the recorded tensors by a formula: the guided prediction, the predicted original, a step under
// another guidance scale. `docs/run-format.md` has the definitions.
import type { Level, Plan } from "./types";

/** `uncond + scale · (text − uncond)`: what the scheduler is given (Ho and Salimans 2022). */
export function guide(uncond: Float32Array, text: Float32Array, scale: number): Float32Array {
  const out = new Float32Array(text.length);
  for (let i = 0; i < out.length; i++) out[i] = uncond[i]! + scale * (text[i]! - uncond[i]!);
  return out;
}

/** How far numbers are from their mean. */
function deviation(values: Float32Array): number {
  let [sum, squares] = [0, 0];
  for (const v of values) sum += v;
  const mean = sum / values.length;
  for (const v of values) squares += (v - mean) ** 2;
  return Math.sqrt(squares / (values.length - 1));
}

/** What a guided prediction is multiplied by where it is brought back to the deviation of the one with the prompt (Lin et al. 2023, section 3.4). */
export function rescaling(guided: Float32Array, text: Float32Array, share: number): number {
  return share === 0 ? 1 : 1 - share + (share * deviation(text)) / deviation(guided);
}

/** What a run's scheduler would be given with another scale: guided, and brought back as the run asks for. */
export function guidedBy(plan: Plan, uncond: Float32Array, text: Float32Array, scale: number): Float32Array {
  const guided = guide(uncond, text, scale);
  const factor = rescaling(guided, text, plan.guidance_rescale ?? 0);
  return factor === 1 ? guided : guided.map((v) => factor * v);
}

/** Whether a recorded prediction is what a formula gives, but for rounding: a report may hold halves. */
export function agrees(recorded: Float32Array, computed: Float32Array): boolean {
  let [apart, size] = [0, 0];
  for (let i = 0; i < recorded.length; i++) {
    apart += (recorded[i]! - computed[i]!) ** 2;
    size += recorded[i]! ** 2;
  }
  return apart <= 0.01 ** 2 * size;
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
