// Which latent channel goes with brightness: by correlation with the picture that the linear map makes of the latents.
import type { RunView } from "../data/run";

/** Rec. 709's shares of red, green and blue in brightness. */
const LUMA = [0.2126, 0.7152, 0.0722] as const;

/** Pearson's correlation of two lists; 0 where one does not vary. */
export function correlation(a: ArrayLike<number>, b: ArrayLike<number>): number {
  const count = a.length;
  let sumA = 0;
  let sumB = 0;
  for (let i = 0; i < count; i++) {
    sumA += a[i]!;
    sumB += b[i]!;
  }
  let both = 0;
  let squaresA = 0;
  let squaresB = 0;
  for (let i = 0; i < count; i++) {
    const x = a[i]! - sumA / count;
    const y = b[i]! - sumB / count;
    both += x * y;
    squaresA += x * x;
    squaresB += y * y;
  }
  const lengths = Math.sqrt(squaresA * squaresB);
  return lengths > 0 ? both / lengths : 0;
}

/** The channel whose correlation with brightness is the largest, whatever its sign; null where it cannot be told. */
export async function brightest(run: RunView, step: number): Promise<number | null> {
  const { map } = run.data;
  const tensor = await run.scaled("latents", step);
  if (!map || !tensor) return null;
  const area = tensor.width * tensor.height;
  const light = new Float64Array(area);
  for (let c = 0; c < tensor.channels; c++) {
    const weight = LUMA.reduce((sum, share, colour) => sum + share * map.weights[c]![colour]!, 0);
    for (let i = 0; i < area; i++) light[i]! += weight * tensor.data[c * area + i]!;
  }
  const strength = Array.from({ length: tensor.channels }, (_, c) =>
    Math.abs(correlation(tensor.data.subarray(c * area, (c + 1) * area), light)),
  );
  return strength.indexOf(Math.max(...strength));
}
