// Curves laid on one another.
import type { Curve } from "../data/types";

/** For each curve, at each of its steps, from where to where it reaches on top of those before it. */
export function stack(curves: readonly Curve[]): [step: number, from: number, to: number][][] {
  const sums = new Map<number, number>();
  return curves.map((curve) =>
    curve.map(([step, value]) => {
      const from = sums.get(step) ?? 0;
      sums.set(step, from + value);
      return [step, from, from + value];
    }),
  );
}

/** The sum of some curves of the same steps. */
export function added(curves: readonly Curve[]): Curve {
  return (curves[0] ?? []).map(([step], i) => [step, curves.reduce((sum, curve) => sum + (curve[i]?.[1] ?? 0), 0)]);
}
