// A run that nobody recorded: smooth blobs that come out of noise, with everything a report can hold. For looking at the
// page while it is written, and for tests that need a page without a build of sdviz: `node tests/made_up.mjs FILE`.
import { readFileSync, writeFileSync } from "node:fs";
import { deflateRawSync } from "node:zlib";
import { PNG } from "pngjs";

const CALLS = 25;
const SIDE = 16;
const GUIDANCE = 5;

function random(seed) {
  let state = seed;
  const next = () => ((state = (state * 1664525 + 1013904223) >>> 0) + 0.5) / 4294967296;
  return () => Math.sqrt(-2 * Math.log(next())) * Math.cos(2 * Math.PI * next());
}

const level = (step) => {
  const alpha = 0.006 + 0.993 * (step / CALLS) ** 1.6;
  const sigma = Math.sqrt((1 - alpha) / alpha);
  return { timestep: step < CALLS ? 961 - 40 * step : null, sigma, alpha_cumprod: alpha, latent_scale: 1 };
};

function blobs(seed) {
  const out = new Float32Array(4 * SIDE * SIDE);
  for (let c = 0; c < 4; c++) {
    for (let y = 0; y < SIDE; y++) {
      for (let x = 0; x < SIDE; x++) {
        const d = Math.hypot(x - 8 + (seed % 3), y - 7) / 5;
        out[(c * SIDE + y) * SIDE + x] = (c === 3 ? -1 : 1) * (1.6 * Math.exp(-d * d) - 0.5) * (1 + 0.2 * c) + 0.02 * x * (c - 1);
      }
    }
  }
  return out;
}

function picture(latents) {
  const png = new PNG({ width: 8 * SIDE, height: 8 * SIDE });
  for (let y = 0; y < 8 * SIDE; y++) {
    for (let x = 0; x < 8 * SIDE; x++) {
      const at = (c) => latents[(c * SIDE + (y >> 3)) * SIDE + (x >> 3)];
      const rgb = [0.45 + 0.3 * at(0), 0.5 - 0.12 * at(1) - 0.15 * at(2), 0.55 + 0.25 * at(3)];
      rgb.forEach((v, i) => (png.data[4 * (y * png.width + x) + i] = Math.max(0, Math.min(255, 255 * v))));
      png.data[4 * (y * png.width + x) + 3] = 255;
    }
  }
  return PNG.sync.write(png);
}

function pack(values) {
  const bytes = Buffer.from(values.buffer);
  const planes = Buffer.alloc(bytes.length);
  const count = values.length;
  for (let i = 0; i < bytes.length; i++) planes[(i % 4) * count + (i >> 2)] = bytes[i];
  return deflateRawSync(planes).toString("base64");
}

const norm = (values) => Math.sqrt(values.reduce((sum, v) => sum + v * v, 0));
const deviation = (values) => {
  const mean = values.reduce((sum, v) => sum + v, 0) / values.length;
  return Math.sqrt(values.reduce((sum, v) => sum + (v - mean) ** 2, 0) / (values.length - 1));
};
const minus = (a, b) => a.map((v, i) => v - b[i]);

/** Attention to a prompt's words: at each place shares of start, words, end and padding that add up to one. */
function attend(prompt, id, put) {
  const words = prompt.split(" ");
  const columns = [{ kind: "start" }, ...words.map((piece) => ({ kind: "word", piece })), { kind: "end" }, { kind: "padding" }];
  const steps = Array.from({ length: CALLS }, (_, i) => i + 1);
  const sizes = [{ factor: 1, heads: 4 }, { factor: 2, heads: 12 }];
  const sums = columns.map(() => []);
  for (const step of steps) {
    const parts = sizes.map(({ factor }) => {
      const side = SIDE / factor;
      const maps = columns.map(({ kind }, c) =>
        Float32Array.from({ length: side * side }, (_, i) => {
          const d = Math.hypot(((i % side) + 0.5) / side - 0.2 - 0.12 * c, (Math.floor(i / side) + 0.5) / side - 0.5) * 3;
          return kind === "padding" ? 4 : kind === "word" ? 0.2 + (step / CALLS) * Math.exp(-d * d) : 0.1;
        }),
      );
      for (let i = 0; i < side * side; i++) {
        const all = maps.reduce((sum, map) => sum + map[i], 0);
        maps.forEach((map) => (map[i] /= all));
      }
      return maps;
    });
    columns.forEach((_, c) => {
      const mean = (map) => map.reduce((sum, v) => sum + v, 0) / map.length;
      sums[c].push([step, 0.25 * mean(parts[0][c]) + 0.75 * mean(parts[1][c])]);
    });
    put("a", step, pack(Float32Array.from(parts.flat().flatMap((map) => [...map]))));
  }
  const named = [...new Set(words)].map((word) => ({ word, kind: "word", columns: words.flatMap((other, i) => (other === word ? [i + 1] : [])) }));
  const special = ["start", "end", "padding"].map((kind) => ({ word: `<${kind}>`, kind, columns: [columns.findIndex((one) => one.kind === kind)] }));
  const texts = [[special[0], ...named, special[1], special[2]]];
  const points = ({ columns }) => steps.map((step, i) => [step, columns.reduce((sum, c) => sum + sums[c][i][1], 0)]);
  const layer = (site, factor, heads) => ({ site: `unet.${site}.transformer_blocks.0.attn2`, factor, heads, h: SIDE / factor, w: SIDE / factor });
  return {
    record: { latents: [SIDE, SIDE], predictions: [{ prediction: "text", schedule: [{ until: CALLS, text: 0 }] }], texts: [{ text: prompt, columns }], layers: [layer("down_blocks.0.attentions.0", 1, 4), layer("mid_block.attentions.0", 2, 12)] },
    kept: { dtype: "f32", steps, sizes, texts, shares: texts[0].map((word) => ({ of: word.word, points: points(word) })), heads: null },
  };
}

/** A run and its blocks. */
export function madeUp({ id = "0", seed = 1, prompt = "a red apple on a blue background", rescale = 0 } = {}) {
  const gauss = random(seed);
  const target = blobs(seed);
  const eps = Float32Array.from({ length: target.length }, gauss);
  const blocks = {};
  const put = (kind, key, step, values) => (blocks[`${kind}-${id}-${key}-${step}`] = values);
  const attention = attend(prompt, id, (kind, step, values) => (blocks[`${kind}-${id}-${step}`] = values));
  const steps = Array.from({ length: CALLS + 1 }, (_, i) => i);
  const later = steps.slice(1);
  const curves = { norms: { latents: [], noise_uncond: [], noise_text: [], noise_guided: [], predicted_original: [] }, guidance: { difference: [], angle: [], share: [] }, change: [], distance: { to: CALLS, latents: [], predicted: [] } };
  let before;
  for (const step of steps) {
    const { alpha_cumprod: alpha } = level(step);
    const latents = target.map((v, i) => Math.sqrt(alpha) * v + Math.sqrt(1 - alpha) * eps[i]);
    put("t", "latents", step, pack(latents));
    put("p", "latents", step, picture(latents).toString("base64"));
    curves.norms.latents.push([step, norm(latents)]);
    curves.distance.latents.push([step, norm(minus(latents, target)) / 32]);
    if (!step) continue;
    const uncond = eps.map((v) => 0.97 * v + 0.1 * gauss());
    const text = uncond.map((v, i) => v + 0.05 * (1 - target[i] / 2) * Math.sin(step / 3));
    const pulled = uncond.map((v, i) => v + GUIDANCE * (text[i] - v));
    const factor = 1 - rescale + (rescale * deviation(text)) / deviation(pulled);
    const guided = pulled.map((v) => factor * v);
    const x0 = target.map((v) => v * (0.3 + 0.7 * (step / CALLS)) + (0.3 * (CALLS - step) * gauss()) / CALLS);
    for (const [key, values] of Object.entries({ noise_uncond: uncond, noise_text: text, noise_guided: guided, predicted_original: x0 })) {
      put("t", key, step, pack(values));
      curves.norms[key].push([step, norm(values)]);
    }
    put("p", "predicted_original", step, picture(x0).toString("base64"));
    const difference = norm(minus(text, uncond));
    curves.guidance.difference.push([step, difference]);
    curves.guidance.angle.push([step, (Math.acos(Math.min(1, uncond.reduce((s, v, i) => s + v * text[i], 0) / norm(uncond) / norm(text))) * 180) / Math.PI]);
    curves.guidance.share.push([step, (GUIDANCE * difference) / norm(guided)]);
    if (before) curves.change.push([step, norm(minus(x0, before)) / norm(x0)]);
    curves.distance.predicted.push([step, norm(minus(x0, target)) / 32]);
    before = x0;
  }
  blocks[`f-${id}`] = picture(target).toString("base64");
  const ranges = { run: [-4, 4], percentile: [-2.4, 2.4], sigma: [-3, 3] };
  const kept = (list) => ({ dtype: "f32", steps: list, derived: false, ranges });
  const png = { width: 8 * SIDE, height: 8 * SIDE, format: "png", quality: null };
  const row = (order, name, shape, symbolic, brief = true) => ({ order, name, brief, symbolic, shape, dtype: name === "tokens" ? "i64" : "f32", min: -4.1, max: 3.9, mean: 0.01, std: 1.02 });
  const run = {
    id,
    name: id === "0" ? "run" : `run-${Number(id) + 1}`,
    batch: 0,
    record: {
      status: "complete",
      sdviz_version: "0.1.0",
      plan: { prompt, negative_prompt: "", seed, batch_size: 1, steps: CALLS, guidance_scale: GUIDANCE, width: 128, height: 128, scheduler: "ddim", eta: 0, record: [], decode: "every", decode_what: ["latents"], ...(rescale && { guidance_rescale: rescale }) },
      model: { id: "pocket", latent_channels: 4, vae_scale_factor: 8, scaling_factor: 0.9, prediction_type: "epsilon", components: [{ name: "text_encoder", parameters: 1234567, file_dtype: "f32" }, { name: "unet", parameters: 9876543, file_dtype: "f32" }, { name: "vae", parameters: 345678, file_dtype: "f32" }] },
      tokens: { window: 77, prompt: ["<|startoftext|>", ...prompt.split(" ").map((w) => `${w}</w>`), "<|endoftext|>"].map((piece, i) => ({ id: 320 + 17 * i, piece })), negative_prompt: [] },
      schedule: steps.map(level),
      attention: attention.record,
    },
    steps,
    tensors: { latents: kept(steps), noise_uncond: kept(later), noise_text: kept(later), noise_guided: kept(later), predicted_original: kept(later) },
    attention: attention.kept,
    pictures: { latents: { ...png, steps }, predicted_original: { ...png, steps: later } },
    final: png,
    map: { weights: [[0.3, 0, 0], [0, -0.12, 0], [0, -0.15, 0], [0, 0, 0.25]], bias: [0.45, 0.5, 0.55], fit: { samples: 6656, r2: 0.98, psnr_db: 34 } },
    curves,
    shapes: [row(0, "tokens", [2, 77], "[2·B, 77]"), row(1, "text_embeddings", [2, 77, 128], "[2·B, 77, 128]"), row(2, "noise", [1, 4, 16, 16], "[B, 4, H/8, W/8]"), row(3, "unet.conv_in", [2, 64, 16, 16], "[2·B, 64, H/8, W/8]"), row(4, "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2", [2, 256, 64], "[2·B, H/8·W/8, 64]", false), row(5, "image", [1, 3, 128, 128], "[B, 3, H, W]")],
    reduced: [],
  };
  return { run, blocks };
}

/** A page of some made-up runs, by the bundle in `dist/`. */
export function madeUpPage(runs, sweep = null) {
  const report = { format: 1, runs: runs.map((one) => one.run), sweep, budget: null };
  const json = JSON.stringify(report).replaceAll("<", "\\u003c");
  const blocks = runs.flatMap((one) => Object.entries(one.blocks).map(([id, text]) => `<script type="text/plain" id="${id}">${text}</script>`));
  const read = (name) => readFileSync(new URL(`../dist/${name}`, import.meta.url), "utf8");
  return `<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>made up</title><style>${read("page.css")}</style></head><body><div id="page"></div>
<script type="application/json" id="report">${json}</script>
${blocks.join("\n")}
<script>${read("page.js").replaceAll("</script", "<\\/script")}</script></body></html>`;
}

if (process.argv[2]) {
  const runs = [madeUp(), madeUp({ id: "1", seed: 2, prompt: "a banana on a purple background" })];
  writeFileSync(process.argv[2], madeUpPage(runs));
}
