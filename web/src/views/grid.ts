// A sweep as a grid: which cell stands where, when two axes are laid out and the others are flipped through.
import type { SweepCell, SweepData } from "../data/types";

/** What is laid out: places in `SweepData.axes`; null for nothing along that side. */
export interface Layout {
  rows: number | null;
  columns: number | null;
  /** Where every axis stands that is not laid out. */
  at: number[];
}

/** The first two axes laid out, the last one of them along. */
export function firstLayout(sweep: SweepData): Layout {
  const count = sweep.axes.length;
  return { rows: count > 1 ? 0 : null, columns: count > 1 ? 1 : count ? 0 : null, at: sweep.axes.map(() => 0) };
}

/** The cell at a place; undefined where the sweep has none. */
export function cellAt(sweep: SweepData, layout: Layout, row: number, column: number): SweepCell | undefined {
  const wanted = layout.at.map((place, axis) => (axis === layout.rows ? row : axis === layout.columns ? column : place));
  return sweep.cells.find((cell) => cell.at.every((place, axis) => place === wanted[axis]));
}

/** A cell in words: `steps 5, guidance scale 7.5`. */
export function cellName(sweep: SweepData, cell: SweepCell): string {
  return sweep.axes.map((axis, i) => `${axis.title} ${axis.labels[cell.at[i]!]}`).join(", ");
}
