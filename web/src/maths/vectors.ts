// Norms and angles, summed in f64 as in `src/export/measures.rs`.

/** Euclidean norm. */
export function norm(values: Float32Array): number {
  let sum = 0;
  for (const v of values) sum += v * v;
  return Math.sqrt(sum);
}

/** The angle between two tensors as vectors, in degrees; null where one is zero. */
export function angle(a: Float32Array, b: Float32Array): number | null {
  let dot = 0;
  for (let i = 0; i < a.length; i++) dot += a[i]! * b[i]!;
  const lengths = norm(a) * norm(b);
  if (!(lengths > 0)) return null;
  return (Math.acos(Math.min(Math.max(dot / lengths, -1), 1)) * 180) / Math.PI;
}

/** Root mean square of a − b. */
export function rms(a: Float32Array, b: Float32Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += (a[i]! - b[i]!) ** 2;
  return a.length ? Math.sqrt(sum / a.length) : 0;
}
