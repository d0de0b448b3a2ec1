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

/** The sum of some curves at each step that one of them has. */
export function added(curves: readonly Curve[]): Curve {
  const sums = new Map<number, number>();
  for (const [step, value] of curves.flat()) sums.set(step, (sums.get(step) ?? 0) + value);
  return [...sums].sort(([a], [b]) => a - b);
}
