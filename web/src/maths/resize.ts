// Small maps made larger, by the arithmetic of `src/viz/upsample.rs`: bicubic as torch has it (a = −0.75, half-pixel centres,
// the edge repeated, no antialias), or each number repeated. Bicubic can go below the least number and above the greatest.

const A = -0.75;

/** A map of numbers, row by row. */
export interface Grid {
  data: Float32Array;
  height: number;
  width: number;
}

/** The four places that a number is made of, and how much each counts: along a side of `from` numbers, for each of `to`. */
function taps(from: number, to: number): { at: number[]; weights: number[] }[] {
  const inner = (t: number) => ((A + 2) * t - (A + 3)) * t * t + 1;
  const outer = (t: number) => ((A * t - 5 * A) * t + 8 * A) * t - 4 * A;
  return Array.from({ length: to }, (_, place) => {
    const real = (from / to) * (place + 0.5) - 0.5;
    const whole = Math.floor(real);
    const t = real - whole;
    const at = [-1, 0, 1, 2].map((i) => Math.min(Math.max(whole + i, 0), from - 1));
    return { at, weights: [outer(t + 1), inner(t), inner(1 - t), outer(2 - t)] };
  });
}

/** The map at another size, bicubic. */
export function bicubic({ data, height: rows, width: columns }: Grid, height: number, width: number): Grid {
  if (rows === height && columns === width) return { data, height, width };
  const out = new Float32Array(height * width);
  if (rows * columns === 0) return { data: out, height, width };
  const across = taps(columns, width);
  const wide = new Float64Array(rows * width);
  for (let y = 0; y < rows; y++) {
    for (let x = 0; x < width; x++) {
      const { at, weights } = across[x]!;
      for (let i = 0; i < 4; i++) wide[y * width + x]! += weights[i]! * data[y * columns + at[i]!]!;
    }
  }
  taps(rows, height).forEach(({ at, weights }, y) => {
    for (let x = 0; x < width; x++) {
      let sum = 0;
      for (let i = 0; i < 4; i++) sum += weights[i]! * wide[at[i]! * width + x]!;
      out[y * width + x] = sum;
    }
  });
  return { data: out, height, width };
}

/** The map at another size, every number repeated: each place has the one that its middle lies in. */
export function repeated({ data, height: rows, width: columns }: Grid, height: number, width: number): Grid {
  const out = new Float32Array(height * width);
  const place = (i: number, from: number, to: number) => Math.min(Math.floor(((2 * i + 1) * from) / (2 * to)), from - 1);
  if (rows * columns > 0) {
    for (let y = 0; y < height; y++) {
      const row = place(y, rows, height) * columns;
      for (let x = 0; x < width; x++) out[y * width + x] = data[row + place(x, columns, width)]!;
    }
  }
  return { data: out, height, width };
}
